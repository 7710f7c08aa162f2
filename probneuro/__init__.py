"""probneuro: generative models of neural recordings and the inference that fits them."""

__version__ = "0.1.0"

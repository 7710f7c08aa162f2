"""Is there a gain that all neurons share and that changes from trial to trial?

python examples/own_model.py            # a minute or two
python examples/own_model.py --smoke    # seconds, too short to tell anything
"""

import sys

import pyro
import pyro.distributions as dist
import torch

import probneuro as pn
from probneuro.inference.nuts import NUTS


def tuned(drive: torch.Tensor, counts: torch.Tensor, shared: bool) -> None:
    trial, neuron = pyro.plate("trial", len(drive), dim=-2), pyro.plate("neuron", 6, dim=-1)
    spread = pyro.sample("spread", dist.HalfNormal(1.0)) if shared else 0.0
    with trial:
        gain = pyro.sample("gain", dist.Normal(0.0, 1.0)) if shared else 0.0
    with neuron:
        base = pyro.sample("base", dist.Normal(1.0, 1.0))
        slope = pyro.sample("slope", dist.Normal(0.0, 1.0))
    with trial, neuron:
        rate = torch.exp(base + slope * drive[:, None] + spread * gain)
        pyro.sample("count", dist.Poisson(rate), obs=counts)


smoke = "--smoke" in sys.argv[1:]
torch.manual_seed(1)
drive = torch.linspace(-1.0, 1.0, 30)
counts = torch.poisson(torch.exp(1 + 0.5 * drive[:, None] + 0.7 * torch.randn(30, 1)).expand(30, 6))
settings = {"engine": NUTS(warmup=50 if smoke else 500), "draws": 50 if smoke else 500, "chains": 2}
found = {
    name: pn.infer(tuned, drive, counts, name == "gain", seed=1, log_likelihood=True, **settings)
    for name in ("gain", "no gain")
}
print(pn.az.summary(found["gain"], var_names=["spread", "slope"]))
print(pn.compare(found, by="loo")[["elpd", "elpd_diff", "dse"]])

"""A run of every case on a device that is none; see ``pretend_device.cpp``.

Its tensors are those of another device to torch, so that whatever an engine leaves on the CPU,
or reads without bringing it back, fails as on a GPU. It computes on the host, and must give the
host's numbers. A process that has registered it keeps it, so that it has one of its own.
"""

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import device_cases
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch.utils.cpp_extension import load

from probneuro import infer
from probneuro.core.errors import CapabilityError
from probneuro.inference import pyro_program
from probneuro.inference.nuts import NUTS

NAME = "pretend"


class Module:
    """What torch asks of the Python side of a device; its random stream is the host's."""

    def is_initialized(self) -> bool:
        """Return that there is nothing to start."""
        return True

    def is_available(self) -> bool:
        """Return that it is there."""
        return True

    def current_device(self) -> int:
        """Return the number of the only one."""
        return 0

    def device_count(self) -> int:
        """Return that it is the only one."""
        return 1

    def _is_in_bad_fork(self) -> bool:
        return False

    def manual_seed_all(self, seed: int) -> None:
        """Seed no stream: it has none of its own."""

    def manual_seed(self, seed: int) -> None:
        """Seed the host's stream."""
        torch.default_generator.manual_seed(seed)

    def get_rng_state(self, device: Any = None) -> torch.Tensor:
        """Return the state of the host's stream."""
        return torch.get_rng_state()

    def set_rng_state(self, state: torch.Tensor, device: Any = None) -> None:
        """Set the state of the host's stream."""
        torch.set_rng_state(state)

    def device(self, device: Any) -> Any:
        """Return a context that does nothing: there is no other to switch from."""
        return nullcontext()


def register(folder: str) -> None:
    """Build the device's operations in a folder, and make it known to torch."""
    torch.utils.rename_privateuse1_backend(NAME)
    source = Path(__file__).with_suffix(".cpp")
    load("pretend_device", [str(source)], build_directory=folder, extra_cflags=["-O0"])
    torch._register_device_module(NAME, Module())
    torch.utils.generate_methods_for_privateuse1_backend()


def check_faults() -> None:
    """Plant two faults that must not pass."""
    with pytest.raises((RuntimeError, TypeError), match="device"):
        torch.ones(2, device=NAME) + torch.ones(2)
    with pytest.raises(TypeError, match="to numpy"):
        torch.ones(2, device=NAME).numpy()
    kept = torch.ones(3)

    def closed_over() -> None:
        mean = pyro.sample("mean", dist.Normal(0.0, 1.0).expand([3]).to_event(1))
        pyro.sample("data", dist.Normal(mean, 1.0).to_event(1), obs=kept)

    words = f"expected all tensors on {NAME}.*pass data as arguments"
    with pytest.raises(CapabilityError, match=words):
        infer(closed_over, engine=NUTS(warmup=5), device=NAME, **device_cases.SIZES)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pyro_program, "moved", lambda value, device: value)
        with pytest.raises(CapabilityError, match=words):
            device_cases.run("nuts", NAME)


def main(folder: str) -> None:
    """Check every case against the CPU."""
    register(folder)
    check_faults()
    for name in device_cases.CASES:
        ours, theirs = device_cases.run(name, NAME), device_cases.run(name, "cpu")
        assert ours.attrs["device"] == NAME, name
        assert device_cases.close(ours, theirs, "posterior"), name
    device_cases.check_conversions(NAME)
    device_cases.check_state_space(NAME)


if __name__ == "__main__":
    main(sys.argv[1])

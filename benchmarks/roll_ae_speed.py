"""A training step of Roll-AE by FFT beside the gathered orbit, in one process.

CPU seconds (the least of several) and what autograd keeps for the gradient:

    python benchmarks/roll_ae_speed.py [--latent 128] [--bins 300] [--batch 64] [--rate 1.0]
"""

import argparse
import resource
import time
from collections.abc import Callable

import numpy as np
import torch

from probneuro.components.shifts import mirror_flips_323, no_permutation, orbit_loss, whole_orbit
from probneuro.models.roll_ae.networks import (
    Sizes,
    decode,
    encode_orbit,
    encode_plain,
    initial_weights,
)


def gathered_loss(x: torch.Tensor, y: torch.Tensor, group) -> torch.Tensor:
    """Return the paper's loss from the orbit itself."""
    return (whole_orbit(x, group) - y[:, None]).square().mean((-2, -1)).amin(-1)


def kept_bytes(step: Callable[[], torch.Tensor]) -> int:
    """Return what autograd keeps between forward and backward."""
    seen: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        seen[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        step()
    return sum(seen.values())


def measured(step: Callable[[], torch.Tensor], repeats: int) -> tuple[float, int]:
    """Return the least CPU seconds of a step, and the bytes kept."""
    kept = kept_bytes(step)
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        step().backward()
        seconds.append(time.process_time() - start)
    return min(seconds), kept


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--latent", type=int, default=128)
    parser.add_argument("--bins", type=int, default=300)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rate", type=float, default=1.0)
    parser.add_argument("--flips", action="store_true")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--peak", action="store_true", help="FFT alone, and the peak of memory")
    given = parser.parse_args()
    torch.set_num_threads(1)
    group = mirror_flips_323() if given.flips else no_permutation(8)
    sizes = Sizes(num_electrodes=8, num_bins=given.bins, latent=given.latent)
    shapes = {**sizes.encoder_shapes(), **sizes.decoder_shapes()}
    weights = {n: w.requires_grad_() for n, w in initial_weights(shapes, 0).items()}
    rng = np.random.default_rng(0)
    x = torch.as_tensor(rng.normal(size=(given.batch, 8, given.bins))).float()
    count = group.num_elements(given.bins)
    chosen = torch.as_tensor(rng.permutation(count)[: max(1, round(given.rate * count))])
    part = None if given.rate >= 1 else chosen

    def fast() -> torch.Tensor:
        out = decode(weights, encode_orbit(weights, x, group, part), sizes)
        return orbit_loss(x, out, group).mean()

    def slow() -> torch.Tensor:
        orbit = whole_orbit(x, group, chosen.tolist())
        place = encode_plain(weights, orbit.flatten(0, 1)).reshape(*orbit.shape[:2], -1).mean(1)
        return gathered_loss(x, decode(weights, place, sizes), group).mean()

    if given.peak:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        seconds, kept = measured(fast, given.repeats)
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(
            f"D {given.bins}, batch {given.batch}, tau {given.rate}: {1e3 * seconds:.1f} ms, "
            f"{kept / 2**20:.1f} MiB kept, peak {(after - before) / 2**10:.0f} MiB above "
            f"{before / 2**10:.0f} MiB"
        )
        return
    (quick, quick_kept), (long, long_kept) = (measured(s, given.repeats) for s in (fast, slow))
    print(f"batch {given.batch}, D {given.bins}, k {given.latent}, {group.size} permutations, "
          f"tau {given.rate}")  # fmt: skip
    print(f"FFT       {1e3 * quick:9.1f} ms  {quick_kept / 2**20:8.1f} MiB kept")
    print(f"gathered  {1e3 * long:9.1f} ms  {long_kept / 2**20:8.1f} MiB kept")
    print(f"ratio     {long / quick:9.1f}     {long_kept / quick_kept:8.1f}")


if __name__ == "__main__":
    main()

"""One model of your own under three engines, and a comparison with another, in ArviZ' tables.

python examples/own_model_compare.py            # a minute; with --smoke seconds
"""

import sys

import pyro
import pyro.distributions as dist
import torch

import probneuro as pn
from probneuro.inference.nuts import NUTS
from probneuro.inference.svi import SVI
from probneuro.inference.tempered_smc import TemperedSMC


def rates(counts: torch.Tensor, own: bool) -> None:
    neurons = counts.shape[1] if own else 1
    with pyro.plate("group", neurons):
        rate = pyro.sample("rate", dist.Gamma(2.0, 0.2))
    with pyro.plate("trial", len(counts), dim=-2), pyro.plate("neuron", counts.shape[1], dim=-1):
        pyro.sample("count", dist.Poisson(rate), obs=counts)


few = 10 if "--smoke" in sys.argv[1:] else 1
torch.manual_seed(1)
counts = torch.poisson(torch.tensor([5.0, 8.0, 12.0]).expand(20, 3))
run = {"draws": 500 // few, "chains": 2, "seed": 1, "progress": False, "log_likelihood": True}
found = {
    "NUTS": pn.infer(rates, counts, True, engine=NUTS(warmup=500 // few), **run),
    "SVI": pn.infer(rates, counts, True, engine=SVI(steps=2000 // few), **run),
    "TemperedSMC": pn.infer(rates, counts, True, engine=TemperedSMC(particles=1000 // few), **run),
}
one = pn.infer(rates, counts, False, engine=NUTS(warmup=500 // few), **run)
for engine, result in found.items():
    print(engine, pn.az.summary(result, var_names=["rate"], kind="stats"), sep="\n")
table = pn.az.compare({"own rates": found["NUTS"], "one rate": one})
print(table[["rank", "elpd", "elpd_diff", "dse"]])

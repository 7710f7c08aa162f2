"""Is there a gain that all neurons share and that changes from trial to trial?

python examples/own_model.py            # a minute
python examples/own_model.py --smoke    # seconds, too short to tell anything
"""

import sys

import pyro
import pyro.distributions as dist
import torch

import probneuro as pn
from probneuro.inference.nuts import NUTS


def tuned(drive: torch.Tensor, counts: torch.Tensor | None, shared: bool) -> None:
    spread = pyro.sample("spread", dist.HalfNormal(1.0)) if shared else 0.0
    with pyro.plate("trial", len(drive), dim=-2) as trial:
        gain = spread * pyro.sample("gain", dist.Normal(0.0, 1.0)) if shared else 0.0
    with pyro.plate("neuron", 6, dim=-1):
        base = pyro.sample("base", dist.Normal(1.0, 1.0))
        slope = pyro.sample("slope", dist.Normal(0.0, 1.0))
        with pyro.plate("trial", len(trial), dim=-2):
            rate = torch.exp(base + slope * drive[:, None] + gain)
            pyro.sample("count", dist.Poisson(rate), obs=counts)


smoke = "--smoke" in sys.argv[1:]
drive = torch.linspace(-1.0, 1.0, 30)
truth = pyro.condition(tuned, {"spread": torch.tensor(0.7)})
simulated = pn.sample_prior_predictive(truth, drive, torch.zeros(30, 6), True, draws=1, seed=1)
counts = torch.tensor(simulated["prior_predictive/count"].values[0, 0])
settings = {"engine": NUTS(warmup=20 if smoke else 500), "draws": 20 if smoke else 500, "chains": 2}
found = {
    name: pn.infer(tuned, drive, counts, name == "gain", seed=1, log_likelihood=True, **settings)
    for name in ("gain", "no gain")
}
print(pn.az.summary(found["gain"], var_names=["spread", "slope"]))
print(pn.compare(found, by="loo")[["elpd", "elpd_diff", "dse"]])

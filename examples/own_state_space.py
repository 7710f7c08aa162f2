"""Spike counts whose log rate wanders: a state-space model of your own, inferred by particles.

python examples/own_state_space.py            # minutes; with --smoke seconds
"""

import sys

import pyro
import pyro.distributions as dist

from probneuro import infer
from probneuro.core.state_space import StateSpaceModel
from probneuro.inference.particle_gibbs import ParticleGibbs
from probneuro.inference.state_space import simulate


class WanderingRate(StateSpaceModel):
    name = "wandering_rate"

    def global_model(self):
        names = {"decay": dist.Beta(8.0, 2.0), "noise": dist.LogNormal(-1.0, 0.5)}
        return {name: pyro.sample(name, prior) for name, prior in names.items()}

    def initialize(self, params):
        return dist.Normal(0.0, 1.0)

    def transition(self, state, params, t, inputs):
        return dist.Normal(params["decay"] * state, params["noise"])

    def observe(self, state, params, t, inputs):
        return dist.Poisson((1.0 + state).exp())


if __name__ == "__main__":
    smoke = "--smoke" in sys.argv[1:]
    truth = simulate(WanderingRate(), {"decay": 0.9, "noise": 0.4}, 10 if smoke else 100, seed=1)
    engine = ParticleGibbs(warmup=10 if smoke else 300, num_particles=20)
    result = infer(
        WanderingRate(), truth.series, engine=engine, draws=10 if smoke else 1000, seed=1
    )
    print(result.posterior.mean(("chain", "draw")))

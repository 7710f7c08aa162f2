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
    length = 3 if "--smoke" in sys.argv[1:] else 100
    model, engine = WanderingRate(), ParticleGibbs(warmup=3 * length, num_particles=20)
    truth = simulate(model, {"decay": 0.9, "noise": 0.4}, length, seed=1)
    result = infer(model, truth.series, engine=engine, draws=10 * length, seed=1)
    print(result.posterior.mean(("chain", "draw")))

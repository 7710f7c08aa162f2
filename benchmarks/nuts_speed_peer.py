"""NumPyro's NUTS on the programs of nuts_speed.py, which runs this with its own interpreter.

Reads the data from a file, writes the draws of two runs to another, and prints the CPU seconds of
each: the first compiles, the second does not.
"""

import argparse
import json
import time

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from numpyro.infer import MCMC, NUTS

numpyro.enable_x64()


def logistic(x: jnp.ndarray, y: jnp.ndarray) -> None:
    weight = numpyro.sample("weight", dist.Normal(0.0, 2.0).expand([x.shape[1]]).to_event(1))
    with numpyro.plate("observation", len(y)):
        numpyro.sample("y", dist.Bernoulli(logits=x @ weight), obs=y)


def eight_schools(y: jnp.ndarray, sigma: jnp.ndarray) -> None:
    mu = numpyro.sample("mu", dist.Normal(0.0, 5.0))
    tau = numpyro.sample("tau", dist.HalfCauchy(5.0))
    with numpyro.plate("school", 8):
        raw = numpyro.sample("raw", dist.Normal(0.0, 1.0))
        numpyro.sample("y", dist.Normal(mu + tau * raw, sigma), obs=y)


PROGRAMS = {"logistic": logistic, "eight_schools": eight_schools}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("program", choices=PROGRAMS)
    parser.add_argument("data")
    parser.add_argument("out")
    for name in ("draws", "warmup", "chains"):
        parser.add_argument(f"--{name}", type=int, required=True)
    given = parser.parse_args()
    with np.load(given.data) as file:
        data = [jnp.asarray(file[name]) for name in file.files]
    run = MCMC(
        NUTS(PROGRAMS[given.program], target_accept_prob=0.8),
        num_warmup=given.warmup,
        num_samples=given.draws,
        num_chains=given.chains,
        chain_method="vectorized" if given.chains > 1 else "sequential",
        progress_bar=False,
    )
    seconds, draws = [], {}
    for seed in range(2):
        start = time.process_time()
        run.run(jax.random.PRNGKey(seed), *data)
        found = jax.block_until_ready(run.get_samples(group_by_chain=True))
        seconds.append(time.process_time() - start)
        draws |= {f"{name}-{seed}": np.asarray(value) for name, value in found.items()}
    np.savez(given.out, **draws)
    print(json.dumps({"seconds": seconds, "version": numpyro.__version__}))


if __name__ == "__main__":
    main()

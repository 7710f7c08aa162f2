import numpy as np
import pandas as pd
import pytest
import synthetic_results
from scipy.special import logsumexp


@pytest.fixture(scope="module")
def result():
    return synthetic_results.make_result()


@pytest.fixture(scope="module")
def results():
    return synthetic_results.make_results()


@pytest.fixture(scope="module")
def table(results):
    return make_table(results)


def make_table(results):
    """The ranked table, by a plain loop over blocks."""
    scores, bits = {}, {}
    for name, dt in results.items():
        held_out = dt["held_out"]
        draws = held_out["log_likelihood"].stack(sample=("chain", "draw")).sum("neuron")
        per_block = [logsumexp(draws.isel(block=b)) - np.log(draws.sample.size) for b in range(10)]
        scores[name] = np.array(per_block)
        gain = scores[name].sum() - float(held_out["baseline_log_likelihood"].sum())
        bits[name] = gain / float(held_out["spike_count"].sum()) / np.log(2)
    order = sorted(scores, key=lambda name: -scores[name].sum())
    best = scores[order[0]]
    rows = {
        name: {
            "rank": place,
            "elpd": scores[name].sum(),
            "se": scores[name].std(ddof=1) * np.sqrt(10),
            "elpd_diff": (best - scores[name]).sum(),
            "dse": (best - scores[name]).std(ddof=1) * np.sqrt(10),
            "bits_per_spike": bits[name],
        }
        for place, name in enumerate(order)
    }
    return pd.DataFrame(rows).T

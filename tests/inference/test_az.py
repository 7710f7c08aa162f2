import numpy as np
import pytest

from probneuro import az
from probneuro.core.results import build_result


def test_names_of_both_generations() -> None:
    for name in ("summary", "rhat", "ess", "from_dict", "plot_trace_dist", "plot_forest", "hdi"):
        assert name in dir(az)
        assert callable(getattr(az, name))
    with pytest.raises(AttributeError, match="has no `from_pyro`"):
        az.from_pyro  # noqa: B018


def test_results_go_into_arviz() -> None:
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("agg")
    rng = np.random.default_rng(0)
    tree = build_result(
        {"bias": rng.normal(size=(4, 100, 2)), "edge": rng.random((4, 100, 2)) < 0.5},
        {"lp": rng.normal(size=(4, 100)), "diverging": rng.random((4, 100)) < 0.05},
        dims={"bias": ["neuron"], "edge": ["synapse"]},
        coords={"neuron": ["a", "b"], "synapse": ["a->b", "b->a"], "pre": ("synapse", ["a", "b"])},
    )
    table = az.summary(tree)
    assert list(table.index) == ["bias[a]", "bias[b]", "edge[a->b]", "edge[b->a]"]
    az.plot_trace_dist(tree, var_names=["bias"], backend="matplotlib")
    az.plot_forest(tree, backend="matplotlib")
    matplotlib.pyplot.close("all")

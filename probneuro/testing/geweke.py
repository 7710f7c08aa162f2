"""The joint distribution test: does a step leave the posterior of any data as it is?"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
import pyro
import torch
from numpy.typing import NDArray
from pyro.distributions import Unit
from scipy.stats import norm, rankdata

from probneuro.core.engine import Arrays
from probneuro.core.errors import CapabilityError, SettingError
from probneuro.core.model import Model
from probneuro.core.rng import generator
from probneuro.inference.hamiltonian import answered
from probneuro.inference.hamiltonian_chains import HamiltonianEngine, HamiltonianKernel
from probneuro.inference.pyro_program import latent_sites, pyro_as_found
from probneuro.inference.pyro_target import PyroTarget, read_program
from probneuro.testing.stats import paired_scores

Floats = NDArray[np.float64]
Step = Callable[[Arrays, Arrays, np.random.Generator], Mapping[str, Any]]
Statistics = Callable[[Arrays, Arrays], Mapping[str, float]]

_TUNING: Final = 150


def geweke(
    model: Model | Callable[..., Any],
    *args: Any,
    step: HamiltonianEngine | Step,
    replicates: int = 400,
    sweeps: int = 5,
    statistics: Statistics | None = None,
    seed: int = 0,
    **kwargs: Any,
) -> dict[str, float]:
    r"""Compare draws of a program with what a step makes of them, parameters and data together.

    .. math::

        (\theta_0, y_0) \sim p(\theta, y), \qquad
        \theta_{i+1} \sim K(\cdot \mid \theta_i, y_i), \quad
        y_{i+1} \sim p(y \mid \theta_{i+1}): \qquad (\theta_n, y_n) \sim p(\theta, y)

    if K leaves the posterior :math:`p(\theta \mid y)` of all data as it is. The left is Geweke's
    marginal-conditional simulator, the right his successive-conditional one. Each replicate
    starts at a fresh draw of the program and alternates the step with new data; the change of
    a statistic over independent replicates has mean zero. Unlike `sbc` it needs no chain to
    converge, and it sees a fault of one step: a few seconds find what SBC finds in hours.

    Statistics are each parameter's normal score g among all draws, :math:`g^2`, its products
    with the scores of each observed site's mean and mean square, and these themselves: all
    light-tailed, whatever the priors.

    Parameters
    ----------
    model : Model or callable
        Any Pyro program with proper priors; ``obs`` marks what is data.
    *args, **kwargs
        Its arguments; data among them give only their shapes. A program that reads its data
        elsewhere too (say, an autoregression on its argument) cannot be checked this way.
    step : HMC, NUTS or callable
        What to check. A callable takes the latent values by name, the observed values by name
        (both of numpy arrays) and a `numpy.random.Generator`, and returns the new values of the
        latent variables that it moves. An engine is tuned on a data set of its own, and then
        held, since a step that adapts leaves nothing invariant.
    replicates : int
        Independent repetitions.
    sweeps : int
        Steps, each with new data, in each of them; a fault adds up over them.
    statistics : callable, optional
        Further statistics of values and data, by name.
    seed : int
        Seed of all that is drawn.

    Returns
    -------
    dict of str to float
        z-scores by statistic, to be given to `check_scores`.

    Raises
    ------
    CapabilityError
        If the program observes nothing, cannot be drawn from, or the engine cannot be held.
    SettingError
        If a count is not positive, or a step returns nothing that it could have.

    Notes
    -----
    Geweke (2004), getting it right: joint distribution tests of posterior simulators. We
    start every replicate afresh, so that no autocorrelation has to be estimated.

    Examples
    --------
    >>> import pyro.distributions as dist
    >>> from probneuro.testing.stats import worst
    >>> def coin(heads):
    ...     bias = pyro.sample("bias", dist.Beta(2.0, 2.0))
    ...     pyro.sample("heads", dist.Binomial(10, bias), obs=heads)
    >>> def gibbs(values, data, rng):
    ...     return {"bias": rng.beta(2 + data["heads"], 2 + 10 - data["heads"])}
    >>> def wrong(values, data, rng):
    ...     return {"bias": rng.beta(1 + data["heads"], 1 + 10 - data["heads"])}
    >>> example = torch.tensor(0.0)
    >>> abs(worst(geweke(coin, example, step=gibbs))[1]) < 4.9
    True
    >>> abs(worst(geweke(coin, example, step=wrong))[1]) > 4.9
    True
    """
    for name, count, least in (("replicates", replicates, 10), ("sweeps", sweeps, 1)):
        if count < least:
            raise SettingError(f"`{name}` must be at least {least}; got {count}. Pass e.g. 400.")
    joint = _Joint(model.model if isinstance(model, Model) else model, args, kwargs)
    move = _Held.tuned(joint, step, seed) if isinstance(step, HamiltonianEngine) else step
    if not callable(move):
        raise CapabilityError(
            f"`step` is a {type(step).__name__}, which cannot be started at given values and held "
            "from adapting. Pass HMC(), NUTS(), or a function (values, data, rng) that makes one "
            "step; `sbc` checks any engine."
        )
    before: list[dict[str, Floats]] = []
    after: list[dict[str, Floats]] = []
    extra: tuple[list[Mapping[str, float]], list[Mapping[str, float]]] = ([], [])
    stuck = True
    for i in range(replicates):
        rng = generator(seed, "geweke", i)
        values, data = joint.draw({}, rng)
        before.append(_numbers(values, data))
        extra[0].append(statistics(values, data) if statistics else {})
        for _ in range(sweeps):
            fresh = _moved(values, move(values, data, rng))
            stuck = stuck and all(np.array_equal(fresh[n], v) for n, v in values.items())
            values, data = joint.draw(fresh, rng)
        after.append(_numbers(values, data))
        extra[1].append(statistics(values, data) if statistics else {})
    if stuck:
        raise SettingError(
            "`step` moved nothing in any replicate, which would pass every test. Return the new "
            "values by name."
        )
    return {**_scores(before, after), **paired_scores(*map(_columns, extra))}


@dataclass(frozen=True)
class _Joint:
    """A program as a simulator of its latent variables and its data."""

    program: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]

    @cached_property
    def observed(self) -> list[str]:
        """The names of what the program observes."""
        trace = self._trace(self.program)
        found = [
            name
            for name, node in trace.nodes.items()
            if node["type"] == "sample"
            and node["is_observed"]
            and not (node["infer"] or {}).get("_deterministic")
        ]
        if not found:
            raise CapabilityError(
                "The program observes nothing, so there are no data to simulate. Mark its data "
                "with `obs=`, and pass an example of them."
            )
        factors = [name for name in found if isinstance(trace.nodes[name]["fn"], Unit)]
        if factors:
            raise CapabilityError(
                f"`{factors[0]}` is a factor, which has no data to simulate. Write it as a "
                "distribution with `obs=`."
            )
        return found

    def draw(self, values: Arrays, rng: np.random.Generator) -> tuple[Arrays, Arrays]:
        """Draw the data at given latent values, and those that are not given."""
        names = self.observed
        given = {name: torch.as_tensor(value) for name, value in values.items()}
        free = pyro.condition(pyro.poutine.uncondition(self.program), data=given)
        trace = self._trace(free, int(rng.integers(2**62)))
        drawn = {n: _array(node) for n, node in latent_sites(trace).items()}
        data = {name: drawn.pop(name) for name in names}
        return {**values, **drawn}, data

    def _trace(self, program: Callable[..., Any], seed: int = 0) -> Any:
        with pyro_as_found(torch.float64), torch.no_grad():
            torch.manual_seed(seed)
            try:
                return pyro.poutine.trace(program).get_trace(*self.args, **self.kwargs)
            except NotImplementedError as error:
                raise CapabilityError(
                    f"The program cannot be drawn from ({error}): some prior is improper. Give it "
                    "a proper prior."
                ) from error

    def given(self, data: Arrays) -> Callable[..., Any]:
        """Return the program with simulated data in the data's place."""
        tensors = {name: torch.as_tensor(value) for name, value in data.items()}
        return pyro.condition(pyro.poutine.uncondition(self.program), data=tensors)


def _array(node: Any) -> NDArray[Any]:
    return np.array(torch.as_tensor(node["value"]).detach().numpy())


class _Held:
    """A Hamiltonian engine's step at a fixed step size and metric, as a function of values."""

    def __init__(self, joint: _Joint, engine: HamiltonianEngine, tuned: Arrays) -> None:
        self._joint, self._engine, self._tuned = joint, engine, tuned

    @staticmethod
    def tuned(joint: _Joint, engine: HamiltonianEngine, seed: int) -> "_Held":
        """Tune the engine on a data set that no replicate sees."""
        rng = generator(seed, "tuning")
        _, data = joint.draw({}, rng)
        target = read_program(joint.given(data), joint.args, joint.kwargs)
        kernel = HamiltonianKernel(target, engine)
        state = answered(kernel.init(rng), target)
        for _ in range(min(engine.warmup, _TUNING)):
            state, _ = answered(kernel.step(state, rng, warmup=True), target)
        return _Held(joint, engine, state)

    def __call__(self, values: Arrays, data: Arrays, rng: np.random.Generator) -> Arrays:
        """Make one step."""
        joint = self._joint
        target: PyroTarget = read_program(joint.given(data), joint.args, joint.kwargs, trace=False)
        position = target.position(values)
        value, gradient = target.value_and_gradient(position)
        state = {
            **self._tuned, "position": position, "value": np.array(value), "gradient": gradient,
        }  # fmt: skip
        kernel = HamiltonianKernel(target, self._engine)
        moved, _ = answered(kernel.step(state, rng, warmup=False), target)
        return {n: v for n, v in target.variables(moved["position"]).items() if n in values}


def _moved(values: Arrays, fresh: Mapping[str, Any]) -> Arrays:
    """Return values after a step, each of the shape and kind that it had."""
    if odd := sorted(fresh.keys() - values.keys()):
        raise SettingError(
            f"`step` returned `{odd[0]}`, which the program does not sample; its latent variables "
            f"are {', '.join(sorted(values))}."
        )
    out = dict(values)
    for name, value in fresh.items():
        array = np.asarray(value)
        if array.shape != values[name].shape:
            raise SettingError(
                f"`step` returned `{name}` of shape {array.shape}; the program's has "
                f"{values[name].shape}. Return one value for each."
            )
        out[name] = array.astype(values[name].dtype)
    return out


def _numbers(values: Arrays, data: Arrays) -> dict[str, Floats]:
    """Return each scalar of the parameters, and mean and mean square of each site's data."""
    out = {f"p.{n}": np.asarray(v, dtype=np.float64).ravel() for n, v in values.items()}
    for name, value in data.items():
        flat = np.asarray(value, dtype=np.float64).ravel()
        moments = [flat.mean()] if flat.size == 1 else [flat.mean(), (flat**2).mean()]
        out[f"y.{name}"] = np.array(moments)
    return out


def _columns(rows: list[Mapping[str, float]]) -> dict[str, Floats]:
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def _scores(before: list[dict[str, Floats]], after: list[dict[str, Floats]]) -> dict[str, float]:
    first, last = {}, {}
    for key in before[0]:
        start = np.array([row[key] for row in before])
        both = np.concatenate([start, np.array([row[key] for row in after])])
        ranks = rankdata(both, axis=0) / (len(both) + 1)
        first[key], last[key] = np.split(norm.ppf(ranks), 2)
    return paired_scores(_statistics(first), _statistics(last))


def _statistics(scores: Mapping[str, Floats]) -> dict[str, Floats]:
    """Return normal scores, their squares, and their products with those of the data."""
    labelled: dict[str, dict[str, Floats]] = {"p": {}, "y": {}}
    for key, columns in scores.items():
        kind, name = key.split(".", 1)
        suffixes = (
            ("", " squared") if kind == "y" else tuple(f"[{i}]" for i in range(len(columns.T)))
        )
        for i, column in enumerate(columns.T):
            label = name + (suffixes[i] if kind == "y" or columns.shape[1] > 1 else "")
            labelled[kind][label] = column
    out: dict[str, Floats] = {}
    for label, column in [*labelled["p"].items(), *labelled["y"].items()]:
        out |= {label: column, f"spread of {label}": column**2}
    for label, column in labelled["p"].items():
        out |= {f"{label} with {y}": column * other for y, other in labelled["y"].items()}
    return out

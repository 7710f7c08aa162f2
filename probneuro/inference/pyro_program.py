"""Reading a Pyro program: its latent sites, and whether a flat vector can stand for them."""

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeVar

import pyro
import torch
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample
from torch.distributions import biject_to
from torch.distributions.constraints import Constraint

from probneuro.core.device import CPU, computing_on, forked_streams, moved, seed_torch
from probneuro.core.errors import CapabilityError
from probneuro.inference.program_structure import latent_sites as latent_sites
from probneuro.inference.program_structure import (
    observed_names,
    refused_data,
    refused_shape,
    refused_site,
    require_same,
)

log = logging.getLogger("probneuro")

PYRO_LOCK: Final = threading.RLock()
"""Pyro keeps one handler stack for all threads, so that programs run one at a time."""
_Answer = TypeVar("_Answer")
_PROBES: Final = 5
_RADIUS: Final = 2.0
_NEARER: Final = 8
_PROBE_SEED: Final = 20140603


@dataclass(frozen=True)
class Site:
    """A continuous latent variable of a program.

    Parameters
    ----------
    name : str
        The Pyro site's name.
    shape : tuple of int
        Shape of its value, in its own space.
    free_shape : tuple of int
        Shape in unconstrained space.
    support : torch.distributions.constraints.Constraint
        Where its value lives.
    dims : list of str or None
        Plate names from the outermost in, then ``infer={"event_dims": [...]}``.
    """

    name: str
    shape: tuple[int, ...]
    free_shape: tuple[int, ...]
    support: Constraint
    dims: list[Any]


@dataclass(frozen=True)
class DiscreteSite:
    """A latent variable of a program that takes finitely many values.

    Parameters
    ----------
    name : str
        The Pyro site's name.
    shape : tuple of int
        Shape of its independent elements, those of one value left out.
    values : torch.Tensor
        What an element may be, shape (value, ...).
    dims : list of str or None
        As those of `Site`.
    """

    name: str
    shape: tuple[int, ...]
    values: torch.Tensor
    dims: list[Any]


@dataclass(frozen=True)
class Program:
    """A Pyro program bound to its arguments, with what a first look at it told.

    Parameters
    ----------
    run : callable
        Runs the program; takes no arguments.
    sites : tuple of Site
        Its latent variables, in the order of the program.
    deterministic : dict
        Dims of its deterministic sites, by name.
    dtype : torch.dtype
        The default dtype it runs in.
    discrete : tuple of DiscreteSite
        Its discrete latent variables, where they were asked for.
    device : torch.device
        Where it computes.
    observed : frozenset of str
        What it observes.
    """

    run: Callable[[], Any]
    sites: tuple[Site, ...]
    deterministic: Mapping[str, list[Any]]
    dtype: torch.dtype
    discrete: tuple[DiscreteSite, ...] = ()
    device: torch.device = CPU
    observed: frozenset[str] = frozenset()

    def check(self, trace: Any) -> None:
        """Refuse a run that has other sites than the first ones had, or of other shapes.

        Raises
        ------
        CapabilityError
            Naming the site.
        """
        latent = latent_sites(trace)
        shapes = {site.name: site.shape for site in self.sites}
        if odd := latent.keys() ^ (shapes.keys() | {site.name for site in self.discrete}):
            raise refused_site(odd)
        if odd := observed_names(trace) ^ self.observed:
            raise refused_data(odd)
        for name, shape in shapes.items():
            if shape != (found := tuple(latent[name]["fn"].shape())):
                raise refused_shape(name, shape, found)

    def as_found(self) -> AbstractContextManager[None]:
        """Return a context to run the program in; see `pyro_as_found`."""
        return pyro_as_found(self.dtype, device=self.device)

    def vectors(self, positions: Any) -> torch.Tensor:
        """Return positions as a tensor that the program can compute with."""
        return torch.as_tensor(positions, dtype=self.dtype, device=self.device)


class _Given(Messenger):
    """Gives latent sites their values; the sites stay latent."""

    def __init__(self, values: Mapping[str, torch.Tensor]) -> None:
        super().__init__()
        self.values = values

    def _pyro_sample(self, message: Any) -> None:
        if message["name"] in self.values and not message["is_observed"]:
            message["value"] = self.values[message["name"]]
            message["done"] = True


class _Probe(Messenger):
    """Draws continuous latents anywhere in their support, improper priors included.

    Parameters
    ----------
    radius : float
        How far from 0 in unconstrained space.
    """

    def __init__(self, radius: float) -> None:
        super().__init__()
        self.radius = radius

    def _pyro_sample(self, message: Any) -> None:
        fn = message["fn"]
        if message["is_observed"] or site_is_subsample(message) or _is_discrete(fn):
            return
        try:
            transform = biject_to(fn.support)
        except NotImplementedError as error:
            raise CapabilityError(
                f"Site `{message['name']}` lives on {fn.support}, which no transform reaches "
                "from the real numbers. Write it with another distribution."
            ) from error
        shape = transform.inverse_shape(fn.shape())
        free = torch.empty(shape).uniform_(-self.radius, self.radius)
        message["value"] = transform(free)
        message["done"] = True


def _is_discrete(fn: Any) -> bool:
    return bool(fn.support.is_discrete)


@contextmanager
def pyro_as_found(
    dtype: torch.dtype, *, device: torch.device = CPU, validate: bool = False
) -> Iterator[None]:
    """Run Pyro inside a block, and leave dtype, streams, parameters and checks as found.

    Parameters
    ----------
    dtype : torch.dtype
        Default dtype inside the block.
    device : torch.device
        Where tensors are made inside the block.
    validate : bool
        Whether distributions check their arguments inside the block.
    """
    store = pyro.get_param_store()
    with (
        PYRO_LOCK,
        forked_streams(device),
        computing_on(device),
        store.scope(store.get_state()),
        pyro.validation_enabled(validate),
    ):
        before = torch.get_default_dtype()
        torch.set_default_dtype(dtype)
        try:
            yield
        finally:
            torch.set_default_dtype(before)


def trace_given(run: Callable[[], Any], values: Mapping[str, torch.Tensor]) -> Any:
    """Return the program's trace with its latent sites at given values."""
    with pyro.poutine.trace() as tracer, _Given(values):
        run()
    return tracer.trace


def read(
    program: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    *,
    discrete: bool = False,
    device: torch.device = CPU,
) -> Program:
    """Look at a program at several random points, and refuse what samplers cannot treat.

    The program runs in float64, its tensor arguments raised to it; where it mixes in
    float32 tensors of its own it runs in float32 instead.

    Parameters
    ----------
    program : callable
        Any Pyro program.
    args, kwargs
        Its arguments.
    discrete : bool
        Whether latents with finitely many values are welcome.
    device : torch.device
        Where it computes; its arguments are moved there.

    Returns
    -------
    Program
        With its latent sites in order.

    Raises
    ------
    CapabilityError
        If it has discrete latents that are not welcome, subsampled plates, supports that depend
        on other variables, sites that come and go, untrained parameters, or no latents at all.
    """
    look = partial(read_bound, discrete=discrete, device=device)
    return in_working_dtype(program, args, kwargs, look, device)


def in_working_dtype(
    program: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    work: Callable[[Callable[[], Any], torch.dtype], _Answer],
    device: torch.device = CPU,
) -> _Answer:
    """Do something with a program in float64, or in float32 where it mixes that in.

    Parameters
    ----------
    program : callable
        Any Pyro program.
    args, kwargs
        Its arguments; in float64, its tensor arguments are raised to it.
    work : callable
        Takes the program bound to its arguments, and the dtype to run it in.
    device : torch.device
        Where its arguments are moved.

    Returns
    -------
    object
        What ``work`` returns.
    """
    args, kwargs = moved(args, device), moved(dict(kwargs), device)
    raised = tuple(map(_raise, args)), {k: _raise(v) for k, v in kwargs.items()}
    try:
        return work(lambda: program(*raised[0], **raised[1]), torch.float64)
    except RuntimeError as error:
        if "dtype" not in str(error) and "Double" not in str(error):
            raise
        return work(lambda: program(*args, **kwargs), torch.float32)


def _raise(value: Any) -> Any:
    single = isinstance(value, torch.Tensor) and value.dtype == torch.float32
    return value.double() if single else value


def read_bound(
    run: Callable[[], Any],
    dtype: torch.dtype,
    *,
    discrete: bool = False,
    device: torch.device = CPU,
) -> Program:
    """Look at a program that is bound to its arguments, in a given dtype; see `read`."""
    with pyro_as_found(dtype, device=device, validate=True):
        known = set(pyro.get_param_store().keys())
        seed_torch(_PROBE_SEED, device)
        traces = []
        for trace in _probed(run):
            traces.append(trace)
            _refuse(trace, known, discrete)
        nodes = latent_sites(traces[0]).values()
        sites = tuple(_site(node) for node in nodes if not _is_discrete(node["fn"]))
        finite = tuple(_discrete_site(node) for node in nodes if _is_discrete(node["fn"]))
        require_same(traces)
    if not sites and not finite:
        raise CapabilityError(
            "The program has no latent sites to infer. Add `pyro.sample` statements without "
            "`obs`, or look at it with `sample_prior_predictive`."
        )
    fixed = {
        name: plate_dims(node, tuple(torch.as_tensor(node["value"]).shape))
        for name, node in traces[0].nodes.items()
        if node["type"] == "sample" and is_deterministic(node)
    }
    return Program(run, sites, fixed, dtype, finite, device, frozenset(observed_names(traces[0])))


def _probed(run: Callable[[], Any]) -> Iterator[Any]:
    for _ in range(_PROBES):
        yield _probe(run)


def _probe(run: Callable[[], Any]) -> Any:
    """Return the trace of a program at random values, ever nearer to 0 while numbers run away.

    A differential equation may overflow at values that are far from any data, and then no
    distribution can be made of it; a program that fails everywhere fails here.
    """
    radius = _RADIUS
    for _ in range(_NEARER):
        with (
            suppress(ValueError, torch.linalg.LinAlgError),
            pyro.poutine.trace() as tracer,
            _Probe(radius),
        ):
            run()
            return tracer.trace
        radius /= 2
    with pyro.poutine.trace() as tracer, _Probe(radius):
        run()
    return tracer.trace


def require_static(run: Callable[[], Any]) -> None:
    """Refuse a program whose sites, shapes or supports differ between runs.

    To be called inside `pyro_as_found`, for what treats parameters, discrete sites and
    subsampled plates by itself, but takes the sites for fixed.

    Parameters
    ----------
    run : callable
        Runs the program.

    Raises
    ------
    CapabilityError
        Naming the site.
    """
    try:
        traces = list(_probed(run))
    except CapabilityError:
        raise
    except Exception as error:  # far from the posterior anything may break
        log.debug("The program was not looked at beforehand: %s", error)
        return
    require_same(traces)


def _refuse(trace: Any, known: set[str], discrete: bool) -> None:
    for name, node in trace.nodes.items():
        if node["type"] == "param" and name not in known:
            raise CapabilityError(
                f"The program learns the parameter `{name}`, which gradient samplers leave "
                "alone. Give it a prior with `pyro.sample`, or use SVI()."
            )
        for frame in node.get("cond_indep_stack", ()):
            if frame.full_size is not None and frame.full_size != frame.size:
                raise CapabilityError(
                    f"Plate `{frame.name}` takes {frame.size} of {frame.full_size} at random, so "
                    "the log density is noise. Drop `subsample_size`, or use SVI()."
                )
    for name, node in latent_sites(trace).items():
        if _is_discrete(node["fn"]):
            _refuse_discrete(name, node["fn"], welcome=discrete)
        _refuse_false_support(name, node)


def _refuse_discrete(name: str, fn: Any, *, welcome: bool) -> None:
    kind = type(fn).__name__
    if not welcome:
        raise CapabilityError(
            f"Site `{name}` is discrete ({kind}), and has no gradient. Sum it out in the "
            "program, or use an engine for discrete variables: Gibbs(), or SVI() with a guide "
            "that covers it."
        )
    if not fn.has_enumerate_support:
        raise CapabilityError(
            f"Site `{name}` ({kind}) takes infinitely many values, which cannot be tried one "
            "by one. Give it a finite range, or use SVI() with a guide that covers it."
        )


def _refuse_false_support(name: str, node: Any) -> None:
    """Refuse a distribution that has no density where its support says it has."""
    try:
        node["fn"].log_prob(node["value"])
    except ValueError as error:
        raise CapabilityError(
            f"Site `{name}` ({type(node['fn']).__name__}) says that it lives on "
            f"{node['fn'].support}, but has no density at some values there, so that its bounds "
            "would be ignored. Sample it where its bounds are fixed, and shift it afterwards, "
            "e.g. b = a + u with u ~ Exponential(1)."
        ) from error
    except NotImplementedError:  # only a factor's, or a user's own: the density tells later
        return


def _discrete_site(node: Any) -> DiscreteSite:
    fn = node["fn"]
    values = fn.enumerate_support(expand=False)
    shape = tuple(node["value"].shape)[: node["value"].dim() - fn.event_dim]
    events = tuple(node["value"].shape)[len(shape) :]
    return DiscreteSite(node["name"], shape, values.reshape(-1, *events), site_dims(node))


def _site(node: Any) -> Site:
    shape = node["value"].shape
    support = node["fn"].support
    free = biject_to(support).inverse_shape(shape)
    return Site(node["name"], tuple(shape), tuple(free), support, site_dims(node))


def is_deterministic(node: Any) -> bool:
    """Whether a sample node is a `pyro.deterministic`."""
    return bool((node["infer"] or {}).get("_deterministic"))


def site_dims(node: Any) -> list[Any]:
    """Return the names of a sample node's dimensions: plates, then ``event_dims``."""
    shape, num_events = node["value"].shape, node["fn"].event_dim
    events = list(node["infer"].get("event_dims", ()))
    unnamed: list[Any] = [None] * num_events
    batch = plate_dims(node, shape[: len(shape) - num_events])
    return batch + (events if len(events) == num_events else unnamed)


def plate_dims(node: Any, shape: tuple[int, ...]) -> list[Any]:
    """Return the names of the plates along each axis of a shape, None where there is none."""
    names: list[Any] = [None] * len(shape)
    for frame in node["cond_indep_stack"]:
        if frame.vectorized and -frame.dim <= len(shape) and shape[frame.dim] == frame.size:
            names[frame.dim] = frame.name
    return names

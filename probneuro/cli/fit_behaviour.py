"""`probneuro fit dsn`: all parameters of a simulator that behave as a file asks."""

import importlib
import importlib.util
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from probneuro.cli.folder import RunFolder, invocation
from probneuro.cli.lookup import references_of
from probneuro.cli.terminal import print_files, print_table, say

if TYPE_CHECKING:
    import xarray as xr

    from probneuro.data.behaviour import Behaviour

OF_BEHAVIOURS = NAME = "dsn"
TABLES = ("bounds", "means", "variances", "model", "engine")


def fit_behaviour(
    words: list[str],
    file: str,
    out: Path,
    *,
    sizes: Mapping[str, Any],
    shared: Mapping[str, Any],
) -> None:
    """Fit a DSN to the behaviour that a file asks for, by the gradient-free engine.

    Parameters
    ----------
    words : list of str
        The command line, to repeat it.
    file : str
        A ``.toml`` file, see `read_behaviour`.
    out : pathlib.Path
        Folder to write into.
    sizes : mapping
        ``draws``, ``chains`` and ``workers``.
    shared : mapping
        ``seed``, ``progress`` and ``overwrite``, as for other models.

    Raises
    ------
    DataError
        If the file does not say what it must.
    """
    from probneuro.core.hashing import stable_hash
    from probneuro.infer import infer
    from probneuro.inference.importance_dual import ImportanceDual
    from probneuro.models.dsn import DSN

    behaviour, simulator, table = read_behaviour(file)
    model = _built(DSN, {"simulator": simulator, **table.get("model", {})}, "model")
    engine = _built(ImportanceDual, table.get("engine", {}), "engine")
    decides = {"draws": sizes["draws"], "chains": sizes["chains"], "seed": shared["seed"]}
    asked = stable_hash(table, simulator)
    settings = {"model": NAME, "behaviour": asked, **decides}
    folder = RunFolder(out, "fit", settings, overwrite=shared["overwrite"])
    again = invocation(words, folder.seed)
    folder.write_record(again)
    say(f"{len(behaviour.parameters)} parameters, {len(behaviour.targets)} statistics", "")
    result = folder.load_finished(NAME)
    if result is None:
        result = infer(
            model, behaviour, engine=engine, seed=folder.seed, progress=shared["progress"],
            checkpoint=folder.checkpoint, **sizes,
        )  # fmt: skip
        folder.save_finished(NAME, result)
    else:
        say(f"{NAME}: finished before, loaded from {folder.result(NAME)}")
    folder.drop_checkpoint()
    _finish(result, folder, again)


def read_behaviour(file: str) -> "tuple[Behaviour, Callable[..., Any], dict[str, Any]]":
    """Read a behaviour and the simulator that should show it.

    The file has ``simulator = "neuron.py:simulate"``, a function in a Python file beside it, or
    ``"package.module:simulate"``; tables ``[bounds]``, ``[means]`` and ``[variances]`` as
    `Behaviour` takes them; and, if wanted, ``[model]`` and ``[engine]`` with settings of `DSN`
    and `ImportanceDual`.

    Parameters
    ----------
    file : str
        A ``.toml`` file.

    Returns
    -------
    behaviour : Behaviour
    simulator : callable
    table : dict
        Everything that the file says.

    Raises
    ------
    DataError
        If there is no such file, or it lacks something.
    """
    from probneuro.core.errors import DataError, unknown_name
    from probneuro.data.behaviour import Behaviour

    path = Path(file).expanduser()
    if not path.is_file():
        raise DataError(f"`path` is no file: {path}. Pass a behaviour, such as neuron.toml.")
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"`{path.name}` is no TOML file: {error}. Correct it.") from None
    for name in table:
        if name not in (*TABLES, "simulator"):
            raise unknown_name("table", name, TABLES)
    if not isinstance(table.get("simulator"), str) or ":" not in table["simulator"]:
        raise DataError(
            f"`{path.name}` names no simulator; got {table.get('simulator')!r}. Write e.g. "
            'simulator = "neuron.py:simulate".'
        )
    parts: dict[str, Any] = {
        part: {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in table.get(part, {}).items()
        }
        for part in ("bounds", "means", "variances")
    }
    return Behaviour(**parts), _simulator(table["simulator"], path.parent), table


def _simulator(named: str, beside: Path) -> Callable[..., Any]:
    """Return the function that a file names, out of a Python file or an installed module."""
    from probneuro.core.errors import DataError

    place, _, name = named.rpartition(":")
    try:
        if place.endswith(".py"):
            spec = importlib.util.spec_from_file_location(Path(place).stem, beside / place)
            if spec is None or spec.loader is None:
                raise ImportError(place)
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
        else:
            module = importlib.import_module(place)
        found: Callable[..., Any] = getattr(module, name)
    except (ImportError, AttributeError, FileNotFoundError) as error:
        raise DataError(
            f"`simulator` {named!r} cannot be loaded: {error}. Name a function of a file beside "
            'the behaviour, such as "neuron.py:simulate".'
        ) from None
    return found


def _built(kind: Any, settings: Mapping[str, Any], table: str) -> Any:
    """Return a model or an engine with the settings of a table."""
    from dataclasses import fields

    from probneuro.core.errors import unknown_name

    known = [field.name for field in fields(kind)]
    for name in settings:
        if name not in known:
            raise unknown_name(f"setting of [{table}]", name, known)
    plain = {name: tuple(v) if isinstance(v, list) else v for name, v in settings.items()}
    return kind(**plain)


def _finish(result: "xr.DataTree", folder: RunFolder, again: str) -> None:
    """Draw, print what every restart found, and write the report."""
    from probneuro.plots import save_figures, solution_figures
    from probneuro.report import write_report

    found = result["max_entropy"].to_dataset()
    names = ("entropy", "dual_entropy", "divergence", "effective_share", "failed_share")
    rows = [
        (name.replace("_", " "), *(f"{value:.3f}" for value in found[name].values))
        for name in names
    ]
    verdict = ["yes" if value else "no" for value in found["converged"].values]
    heads = ["", *(f"restart {chain}" for chain in found["chain"].values)]
    print_table(heads, [*rows, ("converged", *verdict)])
    figures = save_figures(solution_figures(result, prefix=f"{NAME}_"), folder.path / "figures")
    report = write_report(
        {NAME: result}, None, folder.path, figures=figures, title="A DSN", command=again,
        references=references_of([("model", NAME)]),
    )  # fmt: skip
    files = [folder.result(NAME), *figures.values(), report]
    folder.write_record(again, files=files)
    print_files(folder.path, files)

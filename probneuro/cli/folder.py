"""The output folder of a run: what was asked for, what is finished, and whether they agree."""

import json
import os
import shlex
import shutil
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from probneuro import __version__
from probneuro.core import registry
from probneuro.core.errors import CheckpointError, SettingError

if TYPE_CHECKING:
    import xarray as xr

EDGE_SCORES = "edge_scores"
"""Name of the scores of all methods, beside the fits."""

EMBEDDINGS = "embeddings"
"""Name of the embeddings of recordings, whichever model made them."""

SHARED = (
    "held_out_comparison", "weight_trajectories", "learning_rules", "roc_curves",
    "precision_recall_curves", "reliability_curves", "score_matrices", "embedding_map",
    "training_losses",
)  # fmt: skip
"""Figures that belong to no single rule."""


@final
class RunFolder:
    """A folder with ``run.json``, one ``<name>.nc`` a finished fit, and checkpoints.

    Running a command again loads what is finished and goes on with the rest, provided that the
    settings which decide the numbers are the recorded ones.

    Parameters
    ----------
    path : pathlib.Path
        The folder; made if it is not there.
    command : str
        Name of the command, such as ``"compare"``.
    settings : mapping
        Everything that decides the numbers, as JSON values. A seed of None takes the recorded
        one, or a fresh one.
    overwrite : bool
        Whether to throw away what an earlier run left.

    Raises
    ------
    SettingError
        If the folder holds a run with other settings, or results of unknown settings.
    CheckpointError
        If ``run.json`` cannot be read.
    """

    def __init__(
        self, path: Path, command: str, settings: Mapping[str, Any], *, overwrite: bool = False
    ) -> None:
        self.path = path
        if path.exists() and not path.is_dir():
            raise SettingError(f"`--out` must be a folder; {path} is a file. Choose another --out.")
        if overwrite:
            self._clear()
        recorded = self._recorded() if self._has_work() else None
        self.resumed = recorded is not None
        settings = dict(json.loads(json.dumps(settings)))
        if settings.get("seed") is None:
            settings["seed"] = self._seed(recorded)
        if recorded is not None:
            self._check(recorded, command, settings)
        elif self._results():
            raise SettingError(
                f"`--out` {path} holds results but no run.json, so their settings are unknown. "
                "Choose another --out, or pass --overwrite to replace them."
            )
        self.seed = int(settings["seed"])
        self.settings = settings
        self._record = {
            "probneuro": __version__,
            "command": command,
            "settings": settings,
            "started_at": (recorded or {}).get("started_at", _now()),
            "finished_at": None,
        }
        path.mkdir(parents=True, exist_ok=True)

    @property
    def checkpoint(self) -> Path:
        """Folder of the checkpoints."""
        return self.path / "checkpoint"

    @property
    def parts(self) -> Path:
        """Folder of what a reproduction is made of: results, checkpoints and figures."""
        return self.path / "parts"

    def result(self, name: str) -> Path:
        """Return the file of one finished fit."""
        return self.path / f"{name}.nc"

    def load_finished(self, name: str) -> "xr.DataTree | None":
        """Return a fit that an earlier run finished, None if there is none."""
        if not self.result(name).exists():
            return None
        from probneuro.core.results import load

        return load(self.result(name))

    def save_finished(self, name: str, dt: "xr.DataTree") -> None:
        """Write a fit as ``<name>.nc``, whole or not at all."""
        from probneuro.core.results import save

        save(dt, self.result(name))

    def drop_checkpoint(self, name: str = "") -> None:
        """Remove the checkpoint of a fit that is written, or all of them.

        It leaves its place in one step, so that a kill on the way leaves no half of it there.
        """
        place = self.checkpoint / name
        if not place.is_dir():
            return
        gone = self.checkpoint.with_name(f".{place.name}.{os.getpid()}.gone")
        try:
            place.rename(gone)
        except OSError:  # it is only in the way, and what counts is written
            return
        shutil.rmtree(gone, ignore_errors=True)
        if name and not any(self.checkpoint.iterdir()):
            self.checkpoint.rmdir()

    def write_record(self, invocation: str, *, files: Sequence[Path] | None = None) -> None:
        """Write ``run.json``, whole or not at all.

        Parameters
        ----------
        invocation : str
            The command line that repeats the run.
        files : sequence of pathlib.Path, optional
            What was written; passing it marks the run as finished.
        """
        record = {**self._record, "invocation": invocation}
        if files is not None:
            record["finished_at"] = _now()
            record["files"] = [str(file.relative_to(self.path)) for file in files]
        part = self.path / f".run.json.{os.getpid()}"
        part.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        part.replace(self.path / "run.json")

    def _recorded(self) -> dict[str, Any] | None:
        file = self.path / "run.json"
        if not file.exists():
            return None
        try:
            record = json.loads(file.read_text(encoding="utf-8"))
            record["settings"]["seed"], record["command"]
        except (ValueError, KeyError, TypeError):
            raise CheckpointError(
                f"`{file}` is damaged: it is not the record of a run. Choose another --out, or "
                "pass --overwrite to start again."
            ) from None
        return dict(record)

    def _seed(self, recorded: Mapping[str, Any] | None) -> int:
        from probneuro.core.rng import resolve_seed

        return resolve_seed(None if recorded is None else recorded["settings"]["seed"])

    def _check(
        self, recorded: Mapping[str, Any], command: str, settings: Mapping[str, Any]
    ) -> None:
        if recorded["command"] != command:
            raise SettingError(
                f"`--out` {self.path} holds a run of `probneuro {recorded['command']}`, now it is "
                f"`probneuro {command}`. Choose another --out, or pass --overwrite to replace it."
            )
        before, now = recorded["settings"], settings
        keys = [key for key in (*now, *before) if before.get(key) != now.get(key)]
        differ = [
            f"{key.replace('_', '-')} (there {_short(before.get(key))}, now {_short(now.get(key))})"
            for key in dict.fromkeys(keys)
        ]
        if differ:
            raise SettingError(
                f"`--out` {self.path} holds a run with other settings: {', '.join(differ)}. "
                "Choose another --out, or pass --overwrite to replace it."
            )

    def _clear(self) -> None:
        """Delete what runs leave, and nothing else: the folder may hold a user's own files."""
        if not (self.path / "run.json").exists() and not self._results():
            return
        left = ("table.csv", "report.html", "scores.csv", "findings.json", f"{EDGE_SCORES}.nc",
                "metrics.csv", f"{EMBEDDINGS}.csv")  # fmt: skip
        for name in left:
            (self.path / name).unlink(missing_ok=True)
        for file in [*self._results(), *self._figures()]:
            file.unlink()
        for place in (self.checkpoint, self.parts):
            shutil.rmtree(place, ignore_errors=True)
        (self.path / "run.json").unlink(missing_ok=True)

    def _has_work(self) -> bool:
        """Whether an earlier run came far enough to leave numbers; a refused one did not."""
        saved = (*self.checkpoint.rglob("*"), *self.parts.rglob("*"))
        return bool(self._results()) or any(file.is_file() for file in saved)

    def _results(self) -> list[Path]:
        """Return the results of fits that are there."""
        known = (*registry.names("learning_rule"), *registry.names("model"), EMBEDDINGS)
        files = [self.result(name) for name in known]
        return [file for file in files if file.exists()]

    def _figures(self) -> list[Path]:
        """Return the figures that earlier runs drew."""
        known = (*registry.names("learning_rule"), *registry.names("model"))
        rules = tuple(f"{name}_" for name in known)
        found = (self.path / "figures").glob("*.png")
        return [file for file in found if file.stem in SHARED or file.stem.startswith(rules)]


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:12]}…"


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds")


def invocation(words: Sequence[str], seed: int) -> str:
    """Return the command line that repeats a run, with the seed that was used.

    Parameters
    ----------
    words : sequence of str
        Arguments after the program's name.
    seed : int
        The run's seed.

    Returns
    -------
    str

    Examples
    --------
    >>> invocation(["compare", "my file.npz", "--out", "x", "--overwrite"], 3)
    "probneuro compare 'my file.npz' --out x --seed 3"
    """
    kept = [word for word in words if word not in ("--overwrite", "--debug", "--no-progress")]
    if not any(word == "--seed" or word.startswith("--seed=") for word in kept):
        kept += ["--seed", str(seed)]
    return shlex.join(["probneuro", *kept])

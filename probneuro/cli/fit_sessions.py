"""`probneuro fit omiso`: sessions of stimulation into one latent space, and response models."""

from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from probneuro.cli.folder import RunFolder, invocation
from probneuro.cli.terminal import print_files, print_table, say

if TYPE_CHECKING:
    from probneuro.data import LatentTrials

OF_SESSIONS = NAME = "omiso"


def fit_sessions(
    words: list[str], file: str, out: Path, seed: int | None, progress: bool, overwrite: bool
) -> None:
    """Align sessions, fit the ensemble of response models, and say how far each can be trusted.

    Parameters
    ----------
    words : list of str
        The command line, to repeat it.
    file : str
        Sessions, ``.npz`` or ``.nc``.
    out : pathlib.Path
        Folder to write into.
    seed : int or None
        Seed.
    progress, overwrite : bool
        As for other models.

    Raises
    ------
    DataError
        If the file holds no sessions, or they share too few electrodes.
    """
    from probneuro.data import read_sessions
    from probneuro.infer import infer
    from probneuro.models.omiso import ResponseModel, align_sessions, latent_trials
    from probneuro.plots import latent_trajectories, save_figures

    sessions = read_sessions(file)
    settings = {"model": NAME, "sessions": sessions.hash(), "seed": seed}
    folder = RunFolder(out, "fit", settings, overwrite=overwrite)
    again = invocation(words, folder.seed)
    folder.write_record(again)
    say(repr(sessions), "")
    spaces = align_sessions(sessions, seed=folder.seed)
    for session, space in zip(sessions, spaces, strict=True):
        said = space.check.words() if space.check else "The reference session."
        say(f"session {session.name}: {said}")
    trials = latent_trials(sessions, spaces)
    result = folder.load_finished(NAME)
    if result is None:
        result = infer(ResponseModel(), trials, seed=folder.seed, progress=progress)
        folder.save_finished(NAME, result)
    errors = result["fit_history/left_out_error"].to_numpy()[:, -1]
    used = [sessions[number].name for number in sorted(set(trials.session.tolist()))]
    parts = "without session" if len(used) > 1 else f"without part of session {used[0]}"
    labels = used if len(used) > 1 else [f"{k + 1} of {len(errors)}" for k in range(len(errors))]
    print_table(
        [parts, "mean squared error on it"],
        [(label, f"{error:.3f}") for label, error in zip(labels, errors, strict=True)],
    )
    figures: dict[str, Any] = {}
    if len(sessions) > 1:
        first, other = spaces[0], spaces[1]
        raw = other.fit.rotated(other.alignment.rotation.T) if other.alignment else other.fit
        counts = sessions[1].calibration
        drawn = latent_trajectories(
            first.latents(sessions[0].calibration),
            raw.posterior_mean(counts[..., other.usable]),
            other.latents(counts),
        )
        figures = save_figures({"omiso_alignment": drawn}, folder.path / "figures")
    kept = _write_trials(trials, folder.path / "latent_trials.npz")
    files = [folder.result(NAME), kept, *figures.values()]
    folder.write_record(again, files=files)
    print_files(folder.path, files)


def _write_trials(trials: "LatentTrials", path: Path) -> Path:
    import numpy as np

    from probneuro.core.checkpoint import write_atomically

    stream = BytesIO()
    names = ("patterns", "before", "after", "session", "candidates")
    arrays: dict[str, Any] = {name: np.asarray(getattr(trials, name)) for name in names}
    np.savez_compressed(stream, **arrays)
    write_atomically(path, stream.getvalue())
    return path

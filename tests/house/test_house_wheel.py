"""What is shipped: the wheel carries the shelves, the recordings and the licences."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import repository


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Return the names of the files in a wheel built from this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir"]
    subprocess.run([*command, str(folder), str(repository.ROOT)], check=True, timeout=300)
    (wheel,) = folder.glob("probneuro-*.whl")
    return set(zipfile.ZipFile(wheel).namelist())


def beside(folder: Path, prefix: str) -> set[str]:
    """Return the tracked files below a folder, as the wheel would name them."""
    below = [path for path in repository.repository_files() if path.is_relative_to(folder)]
    return {f"{prefix}/{path.relative_to(folder).as_posix()}" for path in below}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("folder", "prefix"),
    [
        ("models", "probneuro/shelf/models"),
        ("inference", "probneuro/shelf/inference"),
        ("probneuro", "probneuro"),
    ],
)
def test_wheel_carries(shipped: set[str], folder: str, prefix: str) -> None:
    missing = beside(repository.ROOT / folder, prefix) - shipped
    assert not missing, f"{sorted(missing)}: see [tool.hatch.build] in pyproject.toml."


@pytest.mark.slow
def test_wheel_carries_no_tests(shipped: set[str]) -> None:
    assert not [name for name in shipped if name.startswith(("tests/", "docs/", "benchmarks/"))]

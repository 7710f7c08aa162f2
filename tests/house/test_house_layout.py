"""Where things stand: code in the package, cards and presets on the shelves."""

import pytest
import repository

REQUIRED = (
    "README.md",
    "LICENSE",
    "CHANGELOG.md",
    "CITATION.cff",
    "Makefile",
    "constraints.txt",
    "pyproject.toml",
    ".ci/run",
    "docs/conf.py",
)
TARGETS = ("demo", "test", "test-slow", "lint", "format", "docs", "bench", "clean")


@pytest.mark.parametrize("file", REQUIRED)
def test_file_is_there(file: str) -> None:
    assert (repository.ROOT / file).is_file(), f"{file} is gone; bring it back."


@pytest.mark.parametrize("shelf", ["models", "inference"])
def test_shelf_holds_no_python(shelf: str) -> None:
    found = [repository.name(p) for p in (repository.ROOT / shelf).rglob("*.py*")]
    assert not found, f"{found}: code lives in probneuro/; a shelf holds cards and presets."


def test_code_lives_in_known_folders() -> None:
    allowed = {"probneuro", "tests", "examples", "benchmarks", "docs"}
    found = [
        repository.name(path)
        for path in repository.repository_files()
        if path.suffix == ".py" and path.relative_to(repository.ROOT).parts[0] not in allowed
    ]
    assert not found, f"{found}: importable code goes into probneuro/, scripts into examples/."


def test_every_package_folder_is_a_package() -> None:
    folders = {path.parent for path in repository.package_modules()}
    found = [repository.name(f) for f in sorted(folders) if not (f / "__init__.py").is_file()]
    assert not found, f"{found}: add an `__init__.py` with a one-line docstring."


@pytest.mark.parametrize("target", TARGETS)
def test_makefile_has_target(target: str) -> None:
    lines = (repository.ROOT / "Makefile").read_text(encoding="utf-8").splitlines()
    assert any(line.startswith(f"{target}:") for line in lines), (
        f"`make {target}` is promised in the README; add the target to the Makefile."
    )


def test_ci_script_can_be_run() -> None:
    script = repository.ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o111, "Run `chmod +x .ci/run` and commit the mode."
    assert "set -euo pipefail" in script.read_text(encoding="utf-8"), "Stop at the first failure."


def test_version_is_the_same_everywhere() -> None:
    import tomllib

    import probneuro

    project = tomllib.loads((repository.ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    citation = (repository.ROOT / "CITATION.cff").read_text(encoding="utf-8")
    version = project["project"]["version"]
    assert probneuro.__version__ == version, "Set `__version__` to the version of pyproject.toml."
    assert f"version: {version}\n" in citation, "Set `version:` in CITATION.cff likewise."

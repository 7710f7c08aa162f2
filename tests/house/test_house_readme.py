"""The README's example runs, and the commands it shows exist."""

import re

import pytest
import repository

README = repository.ROOT / "README.md"
EXAMPLE_LINES = 12


def commands() -> list[str]:
    """Return the shell commands of the README, comments removed."""
    lines = [
        line for block in repository.code_blocks(README, "bash") for line in block.code.splitlines()
    ]
    return [bare for line in lines if (bare := line.partition("#")[0].strip())]


def test_python_example_runs(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    block = repository.code_blocks(README, "python")[0]
    monkeypatch.chdir(tmp_path)
    code = compile("\n" * block.line + block.code, str(README), "exec")
    exec(code, {"__name__": "readme"})


def test_python_example_is_short() -> None:
    block = repository.code_blocks(README, "python")[0]
    lines = [line for line in block.code.splitlines() if line.strip()]
    assert len(lines) <= EXAMPLE_LINES, f"The README promises {EXAMPLE_LINES} lines; cut it."


@pytest.mark.parametrize("command", commands())
def test_command_exists(command: str) -> None:
    words = command.split()
    if words[0] == "make":
        makefile = (repository.ROOT / "Makefile").read_text(encoding="utf-8")
        target = next(word for word in words[1:] if "=" not in word)
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"No `make {target}`."
    elif words[0].endswith("probneuro"):
        from typer.main import get_command

        from probneuro.cli import app

        assert words[1] in get_command(app).commands, f"No command `probneuro {words[1]}`."
    else:
        assert words[0] in {"git", "cd", "pip", "python", "python3"}, f"Unknown command {command}."


def test_links_lead_somewhere() -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", README.read_text(encoding="utf-8"))
    missing = [link for link in links if not (repository.ROOT / link).exists()]
    assert not missing, f"README.md links to {missing}, which are not there."

"""What the house tests look at: the files of the repository and the code blocks of its pages."""

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "probneuro"
SKIPPED_FOLDERS = {".git", ".venv", "__pycache__", "build", "dist", "out", "_build"}
FENCE = re.compile(r"^```(?P<language>[^`\n]*)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced code block: its language, its code, and the line it starts on."""

    language: str
    code: str
    line: int


def code_blocks(page: Path, language: str) -> list[Block]:
    """Return the fenced code blocks of one language in a Markdown page."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(match["language"], match["code"], text[: match.start()].count("\n") + 1)
        for match in FENCE.finditer(text)
        if match["language"] == language
    ]


def repository_files() -> list[Path]:
    """Return every file that is, or could be, committed."""
    command = ["git", "-C", str(ROOT), "ls-files", "-co", "--exclude-standard"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False)
    if listed.returncode == 0:
        return [path for line in listed.stdout.splitlines() if (path := ROOT / line).is_file()]
    return [path for path in ROOT.rglob("*") if path.is_file() and not skipped(path)]


def skipped(path: Path) -> bool:
    """Whether a path lies in a folder that builds and runs leave behind."""
    return bool(SKIPPED_FOLDERS & set(path.relative_to(ROOT).parts))


def text_files() -> Iterator[tuple[Path, str]]:
    """Yield the repository's text files with their text."""
    for path in repository_files():
        try:
            yield path, path.read_text(encoding="utf-8")
        except (UnicodeDecodeError, FileNotFoundError):
            continue


def package_modules() -> list[Path]:
    """Return every module of the package."""
    return sorted(PACKAGE.rglob("*.py"))


def name(path: Path) -> str:
    """Return a path as it reads in a message."""
    return path.relative_to(ROOT).as_posix()

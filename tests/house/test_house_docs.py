"""The code on the documentation's pages runs, page by page, and its links lead somewhere."""

import re
from pathlib import Path

import pytest
import repository

DOCS = repository.ROOT / "docs"
PAGES = sorted(path for path in DOCS.rglob("*.md") if not repository.skipped(path))
QUICK = {"docs/getting_started.md", "docs/howto/own_rule.md", "docs/howto/diagnose.md"}
RUNNABLE = [
    page if repository.name(page) in QUICK else pytest.param(page, marks=pytest.mark.slow)
    for page in PAGES
    if repository.code_blocks(page, "python")
]


@pytest.mark.parametrize("page", RUNNABLE, ids=repository.name)
def test_code_blocks_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of one page share their names, in order, as a reader would type them."""
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "page"}
    for block in repository.code_blocks(page, "python"):
        exec(compile("\n" * block.line + block.code, str(page), "exec"), names)


@pytest.mark.parametrize("page", PAGES, ids=repository.name)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", page.read_text(encoding="utf-8"))
    missing = [link for link in links if not (page.parent / link).exists()]
    assert not missing, f"{repository.name(page)} links to {missing}, which are not there."


def test_the_documentation_shows_every_card() -> None:
    shown = "\n".join(page.read_text(encoding="utf-8") for page in (DOCS / "cards").glob("*.md"))
    cards = [
        *repository.ROOT.glob("models/*/card.md"),
        *repository.ROOT.glob("inference/*/card.md"),
    ]
    missing = [repository.name(card) for card in cards if repository.name(card) not in shown]
    assert not missing, f"{missing}: add a page to docs/cards that includes each."


def test_the_reference_documents_every_public_package() -> None:
    pages = "\n".join(
        page.read_text(encoding="utf-8") for page in (DOCS / "reference").glob("*.md")
    )
    public = [
        ".".join(init.parent.relative_to(repository.ROOT).parts)
        for init in repository.PACKAGE.glob("*/__init__.py")
        if "__all__" in init.read_text(encoding="utf-8")
    ]
    missing = [package for package in public if f"automodule:: {package}\n" not in pages]
    assert not missing, f"{missing}: add an automodule to a page in docs/reference."


def test_the_reference_names_every_command() -> None:
    from probneuro.cli import COMMANDS

    page = (DOCS / "reference" / "command_line.md").read_text(encoding="utf-8")
    missing = [name for name in COMMANDS if f"`probneuro {name}" not in page]
    assert not missing, f"{missing}: add a row to docs/reference/command_line.md."


def test_the_reference_names_the_whole_public_face() -> None:
    import probneuro

    page = (DOCS / "reference" / "face.md").read_text(encoding="utf-8")
    missing = [name for name in probneuro.__all__ if f"`pn.{name}`" not in page]
    assert not missing, f"{missing}: add a row to docs/reference/face.md."


def test_blocks_are_told_apart_when_one_has_a_directive(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    fence = "`" * 3
    page.write_text(
        f"{fence}{{code-block}} python\nskipped\n{fence}\n\n{fence}python\nrun\n{fence}\n"
    )
    assert [block.code for block in repository.code_blocks(page, "python")] == ["run\n"]
    assert repository.code_blocks(page, "python")[0].line == 5

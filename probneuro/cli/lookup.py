"""`probneuro list`, `info` and `cite`: what there is, what it does, what to cite."""

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from probneuro.cli.terminal import console, print_names, say
from probneuro.core import registry
from probneuro.core.errors import SettingError, unknown_name

if TYPE_CHECKING:
    from probneuro.core.model import Reference

KINDS: tuple[registry.Kind, ...] = ("model", "learning_rule", "engine")
Name = Annotated[str, typer.Argument(help="A model, learning rule or engine.", metavar="NAME")]


def list_names() -> None:
    """List models, learning rules and engines."""
    for kind in KINDS:
        rows = [(name, _one_line(kind, name)) for name in registry.names(kind)]
        print_names(kind.replace("_", " ") + "s", rows)


def info(name: Name) -> None:
    """Show what a model, learning rule or engine does, and its limits."""
    kind = find_kind(name)
    if kind in registry.SHELVES:
        card = registry.card_path(kind, name).read_text(encoding="utf-8")
        out = console()
        if out.is_terminal:
            from rich.markdown import Markdown

            out.print(Markdown(card))
        else:
            typer.echo(card)
        return
    text = inspect.getdoc(registry.load(kind, name)) or "No description."
    typer.echo(f"{name} ({kind.replace('_', ' ')})\n\n{text}")
    references = _references(kind, name)
    if references:
        say("", "References", *(reference.text() for reference in references))


def cite(
    name: Name,
    bibtex: Annotated[bool, typer.Option("--bibtex", help="Print BibTeX entries.")] = False,
) -> None:
    """Print what to cite for a model, learning rule or engine."""
    references = _references(find_kind(name), name)
    if not references:
        raise SettingError(
            f"'{name}' lists no references. Cite probneuro itself: see CITATION.cff."
        )
    for reference in references:
        typer.echo(to_bibtex(reference) if bibtex else reference.text())


def find_kind(name: str) -> registry.Kind:
    """Return what a name stands for.

    Parameters
    ----------
    name : str
        A model, learning rule or engine.

    Returns
    -------
    str
        ``"model"``, ``"learning_rule"`` or ``"engine"``.

    Raises
    ------
    SettingError
        If nothing has this name.

    Examples
    --------
    >>> find_kind("additive")
    'learning_rule'
    """
    for kind in KINDS:
        if name in registry.names(kind):
            return kind
    known = [known for kind in KINDS for known in registry.names(kind)]
    raise unknown_name("model, learning rule or engine", name, known)


def references_of(entries: Sequence[tuple[str, str]]) -> list[str]:
    """Return the references of models and rules as lines, each once.

    Parameters
    ----------
    entries : sequence of (kind, name)
        What was used; a kind as in `registry.names`.

    Returns
    -------
    list of str
    """
    lines = [
        reference.text()
        for kind, name in entries
        for known in KINDS
        if known == kind
        for reference in _references(known, name)
    ]
    return list(dict.fromkeys(lines))


def to_bibtex(reference: "Reference") -> str:
    """Return a reference as a BibTeX entry.

    Parameters
    ----------
    reference : Reference
        Its authors as ``"Song S, Miller KD"``.

    Returns
    -------
    str

    Examples
    --------
    >>> from probneuro.core.model import Reference
    >>> source = Reference("Oja E", 1982, "A neuron model", "J. Math. Biol.", "doi:10.1/x")
    >>> print(to_bibtex(source))
    @article{oja1982,
      author = {Oja, E.},
      title = {{A neuron model}},
      journal = {J. Math. Biol.},
      year = {1982},
      doi = {10.1/x},
    }
    """
    authors = [_bibtex_author(author) for author in reference.authors.split(",")]
    key = "".join(c for c in authors[0].partition(",")[0].lower() if c.isalnum() and c.isascii())
    fields = {
        "author": " and ".join(authors),
        "title": f"{{{reference.title}}}",
        "journal": reference.venue,
        "year": str(reference.year),
    }
    identifier = reference.identifier
    if identifier.lower().startswith("doi:"):
        fields["doi"] = identifier[4:].strip()
    elif identifier:
        fields["note"] = identifier
    lines = [f"  {name} = {{{_tex(text)}}}," for name, text in fields.items()]
    return "\n".join([f"@article{{{key}{reference.year},", *lines, "}"])


def _bibtex_author(author: str) -> str:
    family, _, initials = author.strip().rpartition(" ")
    if not family or not initials.isupper():
        return author.strip()
    return f"{family}, " + " ".join(f"{letter}." for letter in initials)


def _tex(text: str) -> str:
    for sign in "&%#_":
        text = text.replace(sign, f"\\{sign}")
    return text


def _references(kind: registry.Kind, name: str) -> "tuple[Reference, ...]":
    # Engines need not list references; models and rules always do.
    return tuple(getattr(registry.load(kind, name), "references", ()))


def _one_line(kind: registry.Kind, name: str) -> str:
    """Return the first sentence on a name; what fails to import says so instead of failing all."""
    try:
        return registry.summary(kind, name)
    except SettingError as error:
        return str(error)

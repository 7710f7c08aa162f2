"""Rules that the source keeps: short modules and functions, no asserts, no private places."""

import ast
import re
from pathlib import Path

import pytest
import repository

MODULE_LIMIT = 500
FUNCTION_LIMIT = 50
FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef
PACKAGE_HOST = re.compile(
    r"\b(?:pypi|pythonhosted|anaconda|download\.pytorch|npmjs|crates)"  # a host's first part
    r"\.(?:org|com|io)\b"
)
MACHINE_PATH = re.compile(r"(?<![\w.~$})\]/-])/(?:home|Users|root|work|opt|mnt|scratch)/\w")
WINDOWS_PATH = re.compile(r"\b[A-Z]:\\\\?Users")


def length_without_docstring(node: FUNCTIONS) -> int:
    """Count the lines of a function, its docstring left out: the house asks for long ones."""
    last = node.end_lineno or node.lineno
    first = node.body[0]
    docstring = 0
    if ast.get_docstring(node, clean=False) is not None:
        docstring = (first.end_lineno or first.lineno) - first.lineno + 1
    return last - node.lineno + 1 - docstring


def long_functions(source: str) -> list[tuple[str, int]]:
    """Return the name and the length of each function that is too long."""
    return [
        (node.name, length)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, FUNCTIONS)
        if (length := length_without_docstring(node)) > FUNCTION_LIMIT
    ]


def private_places(text: str) -> list[str]:
    """Return each package host or absolute machine path in a text."""
    patterns = (PACKAGE_HOST, MACHINE_PATH, WINDOWS_PATH)
    return [match.group() for pattern in patterns for match in pattern.finditer(text)]


@pytest.mark.parametrize("path", repository.package_modules(), ids=repository.name)
def test_module_is_short(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= MODULE_LIMIT, (
        f"{repository.name(path)} has {lines} lines, the limit is {MODULE_LIMIT}. "
        "Split it by idea into modules that can be named."
    )


@pytest.mark.parametrize("path", repository.package_modules(), ids=repository.name)
def test_functions_are_short(path: Path) -> None:
    found = long_functions(path.read_text(encoding="utf-8"))
    assert not found, (
        f"{repository.name(path)}: {found} exceed {FUNCTION_LIMIT} lines without docstring. "
        "Give each step of the function its own name."
    )


def test_the_length_check_sees_a_long_function_and_forgives_a_long_docstring() -> None:
    long_body = "def f():\n" + "    x = 1\n" * FUNCTION_LIMIT
    long_docstring = 'def f():\n    """' + "line\n" * FUNCTION_LIMIT + '    """\n    return 1\n'
    assert long_functions(long_body) == [("f", FUNCTION_LIMIT + 1)]
    assert long_functions(long_docstring) == []


@pytest.mark.parametrize("path", repository.package_modules(), ids=repository.name)
def test_package_does_not_assert(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    lines = [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Assert)]
    assert not lines, (
        f"{repository.name(path)} asserts on lines {lines}. Raise one of probneuro.core.errors "
        "that says what was wrong, what we got and what to do; `assert` vanishes under python -O."
    )


def test_no_module_is_called_utils() -> None:
    vague = {"utils", "util", "helpers", "misc", "common"}
    found = [
        repository.name(p) for p in repository.package_modules() if {p.stem, p.parent.name} & vague
    ]
    assert not found, f"{found}: name the module after the one idea that it holds."


def test_no_file_names_a_package_host_or_a_machine_path() -> None:
    found = {
        repository.name(p): hits for p, t in repository.text_files() if (hits := private_places(t))
    }
    assert not found, (
        f"{found}: such places differ from machine to machine. Write paths relative to the "
        "repository, and leave the choice of a package index to pip's own configuration."
    )


@pytest.mark.parametrize(
    "planted",
    ["see https://" + "pypi" + ".org/simple", "open('/" + "home/me/data.npz')", "/" + "work/x"],
)
def test_the_place_check_sees_a_planted_place(planted: str) -> None:
    assert private_places(planted)


@pytest.mark.parametrize("harmless", ["docs/work/x", "../home/x", "/usr/bin/env bash", "a/opt/b"])
def test_the_place_check_leaves_relative_paths_alone(harmless: str) -> None:
    assert not private_places(harmless)

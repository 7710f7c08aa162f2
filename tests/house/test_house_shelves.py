"""Every registered model and engine has its card, and the shelves speak of things that exist."""

import importlib
import json
import re
import tomllib
from pathlib import Path

import pytest
import repository

from probneuro.core import registry

CARDS = sorted([*repository.ROOT.glob("models/*/*.md"), *repository.ROOT.glob("inference/*/*.md")])
PRESETS = sorted(repository.ROOT.glob("models/*/*.toml"))
EXPECTED = sorted(repository.ROOT.glob("models/*/expected.json"))
IDENTIFIER = re.compile(r"`(probneuro(?:\.\w+)+)`")
MODEL_SECTIONS = (
    "Preliminaries",
    "Generative process",
    "Inference",
    "Limits",
    "Deviations from the paper",
)
ENGINE_SECTIONS = ("What it needs", "When to use it", "Calibration record")


def exists(identifier: str) -> bool:
    """Whether a dotted name is a module, or an attribute reached from one."""
    parts = identifier.split(".")
    for end in range(len(parts), 0, -1):
        try:
            found: object = importlib.import_module(".".join(parts[:end]))
        except ModuleNotFoundError:
            continue
        for part in parts[end:]:
            if part not in dir(found):
                return False
            found = getattr(found, part)
        return True
    return False


def headings(page: Path) -> list[str]:
    """Return the second-level headings of a Markdown page."""
    lines = page.read_text(encoding="utf-8").splitlines()
    return [line[3:].strip() for line in lines if line.startswith("## ")]


@pytest.mark.parametrize("name", registry.names("model"))
def test_model_has_its_card_and_presets(name: str) -> None:
    for file in ("card.md", "demo.toml", "paper.toml", "expected.json"):
        assert registry.shelf_path("model", name, file).stat().st_size, (
            f"Fill models/{name}/{file}."
        )


@pytest.mark.parametrize("name", registry.names("engine"))
def test_engine_has_its_card(name: str) -> None:
    assert registry.card_path("engine", name).stat().st_size, f"Fill inference/{name}/card.md."


@pytest.mark.parametrize("card", CARDS, ids=repository.name)
def test_card_has_its_sections(card: Path) -> None:
    wanted = MODEL_SECTIONS if card.parent.parent.name == "models" else ENGINE_SECTIONS
    missing = [section for section in wanted if section not in headings(card)]
    assert not missing, f"{repository.name(card)} lacks the sections {missing}; write them."


@pytest.mark.parametrize("card", CARDS, ids=repository.name)
def test_card_names_only_what_exists(card: Path) -> None:
    named = IDENTIFIER.findall(card.read_text(encoding="utf-8"))
    missing = sorted({identifier for identifier in named if not exists(identifier)})
    assert not missing, (
        f"{repository.name(card)} names {missing}, which cannot be found. "
        "Correct the name, or take the sentence out."
    )


def test_the_name_check_tells_what_exists_from_what_does_not() -> None:
    assert exists("probneuro.core.errors.DataError")
    assert not exists("probneuro.core.errors.NoSuchError")
    assert not exists("probneuro.no_such_module.Thing")


@pytest.mark.parametrize("preset", PRESETS, ids=repository.name)
def test_preset_parses_and_names_its_model_and_known_rules(preset: Path) -> None:
    settings = tomllib.loads(preset.read_text(encoding="utf-8"))
    assert settings["model"] == preset.parent.name, f'Set model = "{preset.parent.name}".'
    for section in ("simulate", "compare"):
        for rule in settings.get(section, {}).get("rules", []):
            assert rule in registry.names("learning_rule"), f"{rule} in [{section}] is no rule."


@pytest.mark.parametrize("file", EXPECTED, ids=repository.name)
def test_expected_numbers_name_their_source_preset_and_ours(file: Path) -> None:
    expected = json.loads(file.read_text(encoding="utf-8"))
    assert expected["model"] == file.parent.name
    assert expected["source"]
    for target in expected["targets"]:
        assert set(target) == {"name", "figure", "preset", "paper", "ours", "commit"}, (
            f"{target['name']}: give name, figure, preset, paper, ours, commit "
            "(ours and commit are null until measured)."
        )
        assert (file.parent / f"{target['preset']}.toml").is_file(), (
            f"No preset {target['preset']}."
        )
        assert (target["ours"] is None) == (target["commit"] is None), (
            f"{target['name']}: a number of ours stands with the commit it was measured at."
        )


def test_make_demo_runs_the_demo_preset() -> None:
    preset = (repository.ROOT / "models" / "stdp_glm" / "demo.toml").read_text(encoding="utf-8")
    settings = tomllib.loads(preset)
    makefile = (repository.ROOT / "Makefile").read_text(encoding="utf-8").replace("\\\n", " ")
    (line,) = [text for text in makefile.splitlines() if "probneuro compare" in text]
    assert settings["data"]["recording"] in line, "Name the preset's recording in `make demo`."
    for key, value in settings["compare"].items():
        given = ",".join(value) if isinstance(value, list) else str(value)
        flag = f"--{key.replace('_', '-')} {given}"
        assert f"{flag} " in f"{line} ", f"`make demo` and demo.toml differ: write {flag} in both."

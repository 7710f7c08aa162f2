"""Names lead to classes, and a wrong name leads to the right one."""

from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from probneuro.core import registry
from probneuro.core.errors import SettingError

KINDS = ("model", "learning_rule", "engine", "reproduction")


@pytest.fixture
def declared(monkeypatch: pytest.MonkeyPatch):
    """Replace the installed entry points by a list of one's own."""

    def declare(*entries: EntryPoint) -> None:
        monkeypatch.setattr(registry, "entry_points", lambda group: entries)
        registry._entries.cache_clear()

    yield declare
    registry._entries.cache_clear()


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind in KINDS for name in registry.names(kind)]
)
def test_every_name_loads_a_class(kind: registry.Kind, name: str) -> None:
    assert isinstance(registry.load(kind, name), type)


def test_ours_are_there() -> None:
    assert "stdp_glm" in registry.names("model")
    assert {"static", "additive", "multiplicative"} <= set(registry.names("learning_rule"))
    assert {"nuts", "svi", "collapsed_gibbs"} <= set(registry.names("engine"))


def test_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(SettingError, match=r"Unknown model 'stdp-glm'\. Did you mean 'stdp_glm'\?"):
        registry.load("model", "stdp-glm")


def test_unknown_kind_lists_the_kinds() -> None:
    with pytest.raises(SettingError, match=r"Unknown kind 'modle'\. Did you mean 'model'\?"):
        registry.names("modle")  # type: ignore[arg-type]


def test_two_packages_with_one_name_are_refused(declared) -> None:
    declared(
        EntryPoint("x", "one.rules:X", "probneuro.learning_rules"),
        EntryPoint("x", "two.rules:X", "probneuro.learning_rules"),
    )
    with pytest.raises(SettingError, match=r"declare the learning rule 'x': .*Uninstall"):
        registry.names("learning_rule")


def test_the_same_declaration_seen_twice_is_one(declared) -> None:
    entry = EntryPoint("x", "one.rules:X", "probneuro.learning_rules")
    declared(entry, entry)
    assert registry.names("learning_rule") == ("x",)


def test_a_declaration_that_does_not_import_says_so(declared) -> None:
    declared(EntryPoint("x", "no_such_package.rules:X", "probneuro.learning_rules"))
    with pytest.raises(SettingError, match=r"'x' is declared as no_such_package.*Reinstall"):
        registry.load("learning_rule", "x")


def test_an_outside_package_brings_its_card(
    declared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "outside_zoo"
    card = package / "shelf" / "models" / "their_model" / "card.md"
    card.parent.mkdir(parents=True)
    card.write_text("# Their model\n", encoding="utf-8")
    (package / "__init__.py").write_text("class Theirs: ...\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    declared(EntryPoint("their_model", "outside_zoo:Theirs", "probneuro.models"))
    assert registry.load("model", "their_model").__name__ == "Theirs"
    assert registry.card_path("model", "their_model") == card


def test_a_missing_card_says_where_it_was_sought(declared) -> None:
    declared(EntryPoint("lost", "probneuro.core.names:NEURON", "probneuro.models"))
    with pytest.raises(SettingError, match=r"'lost' has no `card\.md`; looked in probneuro/shelf"):
        registry.card_path("model", "lost")


def test_a_learning_rule_has_no_shelf() -> None:
    with pytest.raises(SettingError, match="A learning rule has no shelf; got 'static'"):
        registry.card_path("learning_rule", "static")

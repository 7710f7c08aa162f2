"""Evidence by importance sampling is right, and what tells rules apart is told apart."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import logsumexp

from probneuro import power_table, rule_power
from probneuro.core.errors import DataError, SettingError
from probneuro.core.log_evidence import log_evidence
from probneuro.core.rng import generator
from probneuro.learning_rules import RandomWalk, Static
from probneuro.plots import power_curves
from probneuro.simulators.pairing import Pairing


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_integrals_of_known_value(seed: int) -> None:
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(3, 3)) + 2 * np.eye(3)

    def skewed(z: np.ndarray) -> float:  # log of a gamma, which has unit area in log x
        x = root @ z
        return float((3.0 * x - np.exp(x)).sum() - 3 * np.log(2.0))

    found = log_evidence(skewed, np.zeros(3), rng, draws=400)
    exact = -np.log(abs(np.linalg.det(root)))
    assert abs(found.log_value - exact) < 4.5 * found.error + 0.01
    assert found.error < 0.1


@pytest.mark.parametrize("rule", [Static(), RandomWalk()], ids=lambda rule: rule.name)
def test_the_evidence_of_a_rule_equals_quadrature(rule: RandomWalk | Static) -> None:
    from probneuro.rule_power import _Recording

    whole = _Recording(Static(), None, 1.0, None, 8.0, 1.0, generator(3, "test"))
    found = whole.evidence(rule, 8)
    law = whole.density(rule, 8)
    if isinstance(rule, Static):
        assert found.log_value == pytest.approx(law(np.empty(0)))
        return
    top = law(found.mode)
    area, _ = quad(lambda z: np.exp(law(np.array([z])) - top), found.mode[0] - 6, found.mode[0] + 4)
    assert abs(found.log_value - top - np.log(area)) < 4.5 * found.error + 0.01


def test_longer_recordings_tell_more() -> None:
    walk = {"random_walk": {"weight_noise": 0.3}}
    sizes = {"recordings": 4, "seed": 1, "progress": False, "parameters": walk}
    found = rule_power(["static", "random_walk"], durations=[3.0, 20.0], **sizes)
    table = power_table(found)
    assert table.loc[20.0, "information"] > table.loc[3.0, "information"]
    assert table.loc[20.0, "lead_random_walk"] > table.loc[3.0, "lead_random_walk"]
    assert 0.0 <= table.loc[20.0, "information_share"] <= 1.0
    own = found["log_evidence"].sel(duration=20.0, truth="random_walk").values
    gained = own[:, 1] - logsumexp(own, axis=1) + np.log(2)
    assert gained.mean() <= np.log(2)
    assert len(power_curves({"none": table}).axes) == 2
    same = rule_power(["static", "random_walk"], durations=[3.0, 20.0], **sizes)
    np.testing.assert_array_equal(found["log_evidence"], same["log_evidence"])


def test_pulses_are_where_they_should_be() -> None:
    drive = Pairing(rate=5.0, lag=-0.02, strength=100.0, width=3e-3).drive(1000, 1e-3)
    assert np.flatnonzero(drive[:, 0]).tolist()[:3] == [100, 101, 102]
    assert np.flatnonzero(drive[:, 1]).tolist()[:3] == [80, 81, 82]
    assert (drive > 0).sum(axis=0).tolist() == [15, 15]
    with pytest.raises(SettingError, match="positive strength"):
        Pairing(rate=1.0, strength=0.0)


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(SettingError, match="`rules` must be two or more"):
        rule_power(["static"])
    with pytest.raises(SettingError, match=r"`durations` must be two windows \(2 s\)"):
        rule_power(durations=[1.0])
    with pytest.raises(DataError, match="`tables` is empty"):
        power_curves({})

"""Nothing unsafe gets out, whatever goes in."""

import numpy as np
import pytest

from probneuro.control.safety import SafetyLimits, SafetyState, make_safe
from probneuro.core.errors import SettingError

LIMITS = SafetyLimits(allowed=range(0, 20, 2), most_electrodes=3, most_dose=2000.0)


def fuzzed(rng: np.random.Generator):
    """Return a proposal that may be anything."""
    kind = rng.integers(12)
    size = int(rng.integers(0, 8))
    integers = rng.integers(-3, 25, size)
    if kind == 0:
        return integers.astype(
            rng.choice(["int8", "int64", "float32", "float64", "bool", "uint16"])
        )
    if kind == 1:
        return rng.choice([np.nan, np.inf, -np.inf, 2.0, 4.5], size)
    if kind == 2:
        return [None, "4", 2.0, np.nan, True, np.float64(2), 3 + 0j, 10**30, [2]][: size + 2]
    if kind == 3:
        return integers.tolist() * int(rng.integers(1, 4))
    if kind == 4:
        return [None, "246", {2, 4}, {2: 4}, 4, np.int64(4), b"24", 2.0, range(3)][
            int(rng.integers(9))
        ]
    if kind == 5:
        return integers.reshape(1, -1)
    if kind == 6:
        return np.array([2, None, "x"], dtype=object)
    if kind == 7:
        return tuple(np.uint64(2**63 + int(i)) for i in range(size))
    if kind == 8:
        return np.zeros(int(rng.integers(4000, 6000)), dtype=int)
    even = rng.permutation(10)[: rng.integers(0, 5)] * 2
    return [even, even.tolist(), tuple(int(e) for e in even)][int(rng.integers(3))]


def unsafe(electrodes, now: float, state: SafetyState) -> bool:
    """Say whether an output breaks a rule, independently of the code under test."""
    if not electrodes:
        return False
    plain = all(type(e) is int and e in range(0, 20, 2) for e in electrodes)
    dose = state.dose + 6.25 * 2 * len(electrodes)
    fine = plain and len(set(electrodes)) == len(electrodes) <= 3
    return not (fine and now - state.last >= 0.5 and dose <= 2000.0 and np.isfinite(now))


def test_no_unsafe_output_passes() -> None:
    rng = np.random.default_rng(0)
    passed, state = 0, SafetyState()
    for number in range(100_000):
        if number % 500 == 0:
            state = SafetyState()
        now = float(
            rng.choice([state.last + 0.4, number * 0.7, np.nan, np.inf], p=[0.2, 0.6, 0.1, 0.1])
        )
        late = bool(rng.random() < 0.05)
        found = make_safe(fuzzed(rng), now=now, limits=LIMITS, state=state, late=late)
        assert not unsafe(found.electrodes, now, state) and not (late and found.electrodes)
        assert found.electrodes or found.state == state
        passed += bool(found.electrodes)
        state = found.state
    # A layer that refuses everything would pass as well.
    assert passed > 2000


def test_a_layer_without_a_rule_is_caught_by_the_check() -> None:
    assert unsafe((2, 2), 1.0, SafetyState())
    assert unsafe((1,), 1.0, SafetyState())
    assert unsafe((2, 4, 6, 8), 1.0, SafetyState())
    assert unsafe((2,), 1.0, SafetyState(last=0.9))
    assert unsafe((2,), 1.0, SafetyState(dose=1999.0))
    assert not unsafe((2, 4), 1.0, SafetyState())


@pytest.mark.parametrize(
    ("proposal", "state", "words"),
    [
        ([2, 2], SafetyState(), "named twice"),
        ([2, 4, 6, 8], SafetyState(), "more than 3"),
        ([3], SafetyState(), "not allowed"),
        ([2.0], SafetyState(), "whole numbers"),
        ([2], SafetyState(last=0.8), "too soon"),
        ([2], SafetyState(dose=1999.0), "dose is used up"),
    ],
)
def test_refusals_name_the_rule(proposal, state, words) -> None:
    found = make_safe(proposal, now=1.0, limits=LIMITS, state=state)
    assert words in found.reason and found.electrodes == () and found.state == state


def test_late_and_total_charge() -> None:
    late = make_safe([2], now=1.0, limits=LIMITS, state=SafetyState(), late=True)
    assert late.reason == "the deadline was overrun"
    tight = SafetyLimits(allowed=range(20), most_total_charge=10.0)
    assert "total charge" in make_safe([1, 2], now=1.0, limits=tight, state=SafetyState()).reason


def test_limits_that_their_own_pulse_breaks_are_refused() -> None:
    with pytest.raises(SettingError, match=r"give 12.5 nC a phase.*Lower"):
        SafetyLimits(allowed=[1], amplitude=50.0)
    with pytest.raises(SettingError, match=r"a Shannon number of .*Lower the charge"):
        SafetyLimits(allowed=[1], electrode_area=1e-7)
    with pytest.raises(SettingError, match="`most_dose` must be positive and finite"):
        SafetyLimits(allowed=[1], most_dose=float("nan"))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"shannon": float("nan")}, "`shannon` must be a finite number; got nan"),
        ({"shannon": float("inf")}, "`shannon` must be a finite number; got inf"),
        ({"duration": 0.6}, r"`duration` of 0\.6 s is longer than `least_interval` of 0\.5 s"),
        ({"most_electrodes": 2.5}, r"`most_electrodes` must be a whole number.*got 2\.5"),
        ({"most_electrodes": True}, "`most_electrodes` must be a whole number.*got True"),
        ({"allowed": [0.9, 1.9]}, r"`allowed` must be electrodes, whole.*got \[0\.9, 1\.9\]"),
        ({"allowed": [-1]}, "`allowed` must be electrodes, whole numbers from 0 on"),
        ({"allowed": 5}, "`allowed` must be electrodes, whole numbers from 0 on; got 5"),
        ({"amplitude": "25"}, "`amplitude` must be positive and finite; got '25'"),
    ],
)
def test_limits_that_would_limit_nothing_are_refused(settings, words) -> None:
    with pytest.raises(SettingError, match=words):
        SafetyLimits(**{"allowed": range(6), **settings})


@pytest.mark.parametrize("now", [None, "1.0", float("nan"), 10**400, [1.0], True])
def test_without_a_time_nothing_goes_out(now) -> None:
    found = make_safe([2], now=now, limits=LIMITS, state=SafetyState())
    assert found.electrodes == () and found.reason == "the time is no finite number"
    assert found.state == SafetyState()


def test_a_train_counts_at_least_one_pulse() -> None:
    assert SafetyLimits(allowed=[1], frequency=1e-9).pulses == 1
    assert LIMITS.pulses == 2
    assert (
        make_safe([np.int64(2)], now=np.float64(1), limits=LIMITS, state=SafetyState()).reason == ""
    )

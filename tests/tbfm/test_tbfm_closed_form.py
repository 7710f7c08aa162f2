"""The closed form against brute force: penalties, bases, missing samples, sessions, updates."""

import numpy as np
import pytest

from probneuro.core.errors import DataError, SettingError
from probneuro.data import StimTrials
from probneuro.models.tbfm.closed_form import (
    FitOptions,
    fit_closed_form,
    fit_sessions,
    prior_precision,
    solve_channel,
)
from probneuro.models.tbfm.design import design_of, scaling_of
from probneuro.models.tbfm.forecast import Forecaster
from probneuro.models.tbfm.online import update
from probneuro.models.tbfm.reduced_rank import mean_targets, top_bases
from probneuro.models.tbfm.ridge import OwnCrossRidge
from probneuro.models.tbfm.scores import r2
from probneuro.simulators.stim_lfp import simulate_ou, simulate_paired_pulses

GIVEN = FitOptions(num_bases=3, own=0.01, cross=0.3)


def small(count: int = 60, channels: int = 3, seed: int = 0) -> StimTrials:
    """Return short trials: 4 samples of runway, 12 of response."""
    made = simulate_paired_pulses(count, channels, seed=seed).trials
    return StimTrials(made.values[:, :, 16:32], sampling_rate=1000, runway=4, pulses=[0.008])


def objective(design: object, bases: np.ndarray, own: float, cross: float) -> float:
    """Return the least penalised sum of squares with bases, by solving each channel directly."""
    total = 0.0
    for channel in range(design.targets.shape[1]):  # type: ignore[attr-defined]
        coefficient, _ = solve_channel(design, bases, channel, own, cross)  # type: ignore[arg-type]
        missed = design.targets[:, channel] - design.regressors @ coefficient @ bases  # type: ignore[attr-defined]
        weights = prior_precision(design.scaling, channel, own, cross)  # type: ignore[attr-defined]
        total += (missed**2).sum() + (weights[:, None] * coefficient**2).sum()
    return total


@pytest.mark.parametrize(("own", "cross"), [(0.5, 20.0), (20.0, 0.5), (3.0, 3.0)])
def test_two_penalties_are_solved_exactly(own: float, cross: float) -> None:
    rng = np.random.default_rng(1)
    features, width = rng.normal(size=(15, 24)), 6
    ridge = OwnCrossRidge(features, width)
    moments = rng.normal(size=(24, 4, 5))
    found = ridge.solve(moments, own, cross)
    quadratic = np.zeros((5, 5))
    fresh = rng.normal(size=(7, 24))
    spread = ridge.spread(fresh, own, cross)
    for channel in range(4):
        penalty = np.full(24, cross)
        penalty[channel * width : (channel + 1) * width] = own
        direct = np.linalg.inv(features.T @ features + np.diag(penalty))
        assert np.allclose(found[:, channel], direct @ moments[:, channel], atol=1e-10)
        assert np.allclose(ridge.covariance(channel, own, cross), direct, atol=1e-10)
        assert np.allclose(spread[:, channel], np.einsum("np,pq,nq->n", fresh, direct, fresh))
        quadratic += moments[:, channel].T @ direct @ moments[:, channel]
    assert np.allclose(ridge.explained(ridge.rotate(moments), own, cross), quadratic)


def test_no_other_bases_do_better() -> None:
    trials = small()
    fit = fit_closed_form(trials, GIVEN)
    design = design_of(trials, fit.scaling)
    best = objective(design, fit.bases, fit.own, fit.cross)
    rng = np.random.default_rng(2)
    assert np.allclose(fit.bases @ fit.bases.T, np.eye(3), atol=1e-10)
    for size in (1e-3, 1e-2, 1.0):
        moved = np.linalg.qr((fit.bases + size * rng.normal(size=fit.bases.shape)).T)[0].T
        assert objective(design, moved, fit.own, fit.cross) > best


def test_weights_are_those_of_the_direct_solution() -> None:
    trials = small()
    fit = fit_closed_form(trials, GIVEN)
    design = design_of(trials, fit.scaling)
    for channel in range(3):
        direct, _ = solve_channel(design, fit.bases, channel, fit.own, fit.cross)
        assert np.allclose(fit.weight[channel], direct[1:], atol=1e-9)
        assert np.allclose(fit.intercept[channel], direct[:1], atol=1e-9)


def test_fewer_bases_are_the_first_of_more() -> None:
    trials = small()
    few, many = (
        fit_closed_form(trials, FitOptions(num_bases=n, own=0.01, cross=0.3)) for n in (2, 5)
    )
    assert np.allclose(few.bases, many.bases[:2], atol=1e-9)


def test_noise_is_the_mean_leave_one_out_product() -> None:
    """Refit without each trial, at the same bases, scale and penalties."""
    trials = small(40, 2)
    fit = fit_closed_form(trials, GIVEN)
    design = design_of(trials, fit.scaling)
    errors = np.empty((40, 2, 12))
    for left_out in range(40):
        rest = design.part(np.delete(np.arange(40), left_out))
        for channel in range(2):
            found, precision = solve_channel(rest, fit.bases, channel, fit.own, fit.cross)
            row = design.regressors[left_out]
            missed = design.targets[left_out, channel] - row @ found @ fit.bases
            spread = 1 + row @ np.linalg.solve(precision, row)
            along = fit.bases.T @ (fit.bases @ missed)
            errors[left_out, channel] = along / np.sqrt(spread) + (missed - along)
    inside = fit.bases.T @ fit.bases
    for channel in range(2):
        direct = errors[:, channel].T @ errors[:, channel] / 40
        # Along the bases the errors are the same; off them residuals are all there is.
        assert np.allclose(
            inside @ direct @ inside, inside @ fit.noise[channel] @ inside, rtol=1e-3, atol=1e-6
        )


@pytest.mark.stat
def test_ou_is_forecast_as_well_as_can_be() -> None:
    train, test = simulate_ou(4000, 3, seed=1).split(3000)
    fit = fit_closed_form(train.trials, FitOptions())
    response = test.trials.response
    found = r2(response, forecaster(fit, train.trials).forecast(test.trials))
    assert r2(response, test.expected) - found < 0.002


@pytest.mark.stat
def test_two_penalties_beat_one_where_channels_are_independent() -> None:
    train, test = simulate_ou(1000, 8, seed=2).split(500)
    scores = [
        r2(
            test.trials.response,
            forecaster(fit_closed_form(train.trials, options), train.trials).forecast(test.trials),
        )
        for options in (
            FitOptions(num_bases=5),
            FitOptions(num_bases=5, own=0.001, cross=0.001),
        )
    ]
    assert scores[0] > scores[1] + 0.02


def forecaster(fit: object, trials: StimTrials) -> Forecaster:
    return Forecaster(
        fit=fit,  # type: ignore[arg-type]
        channels=trials.channels,
        horizon_times=trials.horizon_times,
    )


def with_gaps(trials: StimTrials, **places: object) -> StimTrials:
    values = np.array(trials.values)
    for where in places.values():
        values[where] = np.nan
    return StimTrials(values, sampling_rate=1000, runway=trials.runway, pulses=trials.pulses)


def test_a_dead_channel_changes_nothing_for_the_others() -> None:
    trials = small(80, 4)
    others = [0, 1, 3]
    for dead in (0.0, 7.0, np.nan):
        values = np.array(trials.values)
        values[:, 2] = dead
        broken = StimTrials(values, sampling_rate=1000, runway=4, pulses=trials.pulses)
        fit = fit_closed_form(broken, GIVEN)
        without = fit_closed_form(trials.select(["0", "1", "3"]), GIVEN)
        found = forecaster(fit, broken).forecast(broken)
        wanted = forecaster(without, trials.select(["0", "1", "3"])).forecast(
            trials.select(["0", "1", "3"])
        )
        assert np.allclose(found[:, others], wanted, atol=1e-8)
        assert np.allclose(found[:, 2], dead, equal_nan=True)


def test_a_missing_sample_changes_its_own_channel_and_hardly_the_others() -> None:
    trials = small(120, 4)
    whole = fit_closed_form(trials, GIVEN)
    gap = with_gaps(trials, one=(5, 2, 9), two=(17, 2, 3))
    fit = fit_closed_form(gap, GIVEN)
    found, wanted = (forecaster(f, trials).forecast(trials) for f in (fit, whole))
    change = np.abs(found - wanted).mean((0, 2)) / trials.values.std((0, 2))
    assert np.isfinite(found).all()
    assert change[2] > 0
    assert (change[[0, 1, 3]] < 0.02).all()
    late = forecaster(fit, trials).forecast(gap)
    assert np.isnan(late[17, 2]).all(), "Its last sample is not known."
    assert np.isfinite(np.delete(late[17], 2, axis=0)).all()


def test_channels_with_gaps_are_solved_from_their_complete_trials() -> None:
    trials = with_gaps(small(60, 2), one=(slice(0, 12), 1, 8))
    fit = fit_closed_form(trials, GIVEN)
    design = design_of(trials, fit.scaling)
    direct, _ = solve_channel(design, fit.bases, 1, fit.own, fit.cross)
    assert design.observed[:, 1].sum() == 48
    assert np.allclose(fit.weight[1], direct[1:])


def test_sessions_share_bases_and_nothing_else() -> None:
    sessions = [small(60, 3, seed=0), small(90, 2, seed=1)]
    fits = fit_sessions(sessions, GIVEN)
    assert np.array_equal(fits[0].bases, fits[1].bases)
    assert [len(fit.weight) for fit in fits] == [3, 2]
    alone = fit_sessions(sessions[:1], GIVEN)[0]
    single = fit_closed_form(sessions[0], GIVEN)
    assert np.allclose(alone.bases, single.bases, atol=1e-8)
    assert np.allclose(alone.weight, single.weight, atol=1e-8)
    other = StimTrials(np.ones((20, 1, 9)), sampling_rate=1000, runway=4, pulses=[0.005])
    with pytest.raises(DataError, match="must have one horizon"):
        fit_sessions([sessions[0], other], GIVEN)


def test_updates_give_the_fit_to_all_trials() -> None:
    made = simulate_paired_pulses(90, 2, interval=(0.01, 0.03), seed=3).trials
    first, rest = made.take(slice(0, 40)), made.take(slice(40, 90))
    fit = fit_closed_form(first, GIVEN)
    updated = update(update(fit, rest.take(slice(0, 20))), rest.take(slice(20, 50)))
    scaling = updated.scaling
    design = design_of(made, scaling)
    assert np.abs(design.features[design.pattern == 0].mean(0)).max() < 1e-10
    targets = design.targets @ fit.bases.T
    means = mean_targets(targets, design.pattern, 2)
    assert np.allclose(updated.intercept.transpose(1, 0, 2), means, atol=1e-6)
    ridge = OwnCrossRidge(design.features, 20)
    assert np.allclose(ridge.gram, updated.gram, atol=1e-8)
    moments = design.features.T @ (targets - means[design.pattern]).reshape(90, -1)
    direct = ridge.solve(moments.reshape(40, 2, 3), fit.own, fit.cross).transpose(1, 0, 2)
    assert np.allclose(direct, updated.weight, atol=1e-5)
    with pytest.raises(SettingError, match="`memory` must lie within 0 and 1"):
        update(fit, rest, memory=0.0)


def test_a_state_agnostic_fit_gives_the_same_response_from_every_state() -> None:
    trials = small()
    fit = fit_closed_form(trials, FitOptions(num_bases=3, state_dependent=False))
    found = forecaster(fit, trials).forecast(trials)
    assert np.allclose(found, found[:1])
    assert r2(trials.response.mean(0)[None], found[:1]) > 0.9


def test_overlapping_windows_are_kept_out_of_the_choice() -> None:
    """Penalties chosen on windows that share samples with the training would be too small."""
    values = np.cumsum(np.random.default_rng(5).normal(size=(2, 900)), axis=1)
    from probneuro.data import Continuous

    recording = Continuous(signal=values, sampling_rate=1000, channels=("a", "b"))
    trials = recording.slide(stride=0.002, runway=0.01, horizon=0.04)
    with pytest.raises(SettingError, match="leaves 0 trials with 0 of 1 pulse patterns"):
        fit_closed_form(trials.take(slice(0, 24)), FitOptions(held_out=0.9))
    assert fit_closed_form(trials, FitOptions()).selection.num_bases >= 1


def test_fits_that_make_no_sense_are_refused() -> None:
    with pytest.raises(DataError, match="must be at least 10 to fit; got 5"):
        scaling_of(small(60).take(slice(0, 5)))
    with pytest.raises(DataError, match="hold no live channel"):
        scaling_of(StimTrials(np.ones((20, 1, 9)), sampling_rate=1000, runway=4, pulses=[0.005]))
    with pytest.raises(SettingError, match="`num_bases` must be between 1 and the 12 samples"):
        fit_closed_form(small(), FitOptions(num_bases=13))
    with pytest.raises(SettingError, match=r"`held_out` of 0\.001 leaves"):
        fit_closed_form(small(), FitOptions(held_out=0.001))


def test_top_bases_are_eigenvectors() -> None:
    table = np.random.default_rng(3).normal(size=(6, 6))
    table = table @ table.T
    bases, values = top_bases(table, 2)
    assert np.allclose(bases @ table @ bases.T, np.diag(values[:2]))

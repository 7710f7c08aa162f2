"""The encoder of invariant statistics: what it sees, its invariance, training and messages."""

from pathlib import Path

import numpy as np
import pytest
import torch

from probneuro.components.embedding_tasks import leave_groups_out
from probneuro.components.invariant_statistics import invariant_statistics
from probneuro.core.errors import DataError, SettingError
from probneuro.core.results import load, save
from probneuro.data import Wells
from probneuro.models.roll_ae import (
    StatisticsEncoder,
    Training,
    embed,
    fit,
    statistics_encoder,
)

QUICK = Training(epochs=2, batch_size=8, learning_rate=2e-3, annealed=True)


def counts(num: int = 12, electrodes: int = 5, bins: int = 64, *, seed: int = 0) -> Wells:
    rng = np.random.default_rng(seed)
    rates = rng.gamma(1.0, 1.0, (num, electrodes, 1))
    labels = {"plate": [f"p{k % 3}" for k in range(num)], "well": [f"A{k}" for k in range(num)]}
    return Wells(rng.poisson(rates, (num, electrodes, bins)), 0.5, labels=labels)


def test_statistics_do_not_change_under_shifts_and_any_order_of_electrodes() -> None:
    wells = counts()
    rng = np.random.default_rng(1)
    before = invariant_statistics(wells)
    for _ in range(5):
        moved = np.roll(wells.counts[:, rng.permutation(5)], int(rng.integers(64)), axis=2)
        assert np.allclose(invariant_statistics(Wells(moved, 0.5)), before, atol=1e-12)


def test_statistics_against_a_plain_computation() -> None:
    """Each kind written out for one recording, electrodes and pairs one by one."""
    wells = counts(1)
    assert not wells.counts[0].sum(1).all(), "one electrode is to be silent"
    found = invariant_statistics(wells, longest_lag=2)[0]
    x = wells.counts[0].astype(float)
    logs = np.log1p(x)
    rates = x.mean(1) / 0.5
    active = np.flatnonzero(rates >= 5 / 60)

    def spread_out(values: list[float]) -> list[float]:
        return [float(np.mean(values)), float(np.std(values)),
                *np.quantile(values, [0.1, 0.25, 0.5, 0.75, 0.9])]  # fmt: skip

    def correlation(a: int, b: int, lag: int) -> float:
        if not (logs[a].std() and logs[b].std()):
            return 0.0
        both = [np.corrcoef(logs[a], np.roll(logs[b], s))[0, 1] for s in (lag, -lag)]
        return float(np.mean(both))

    of_each = {
        0: np.log1p(rates),
        1: np.log1p(x.var(1) / x.mean(1).clip(1e-9)),
        2: (x == 0).mean(1),
        3: np.log(logs.var(1) + 1e-9),
        9: np.log1p(x.max(1)),
        10: np.array([correlation(e, e, 1) for e in range(5)]),
        11: np.array([correlation(e, e, 2) for e in range(5)]),
    }
    for k, values in of_each.items():
        assert np.allclose(found[k:84:12], spread_out(values[active]), atol=1e-6), k
    pairs = [(a, b) for i, a in enumerate(active) for b in active[i + 1 :]]
    for lag in range(3):
        told = spread_out([correlation(a, b, lag) for a, b in pairs])
        assert np.allclose(found[84 + lag : 105 : 3], told, atol=1e-6)
    table = [[correlation(a, b, 0) for b in range(5)] for a in range(5)]
    values = np.linalg.eigvalsh(table)[::-1]
    assert np.allclose(found[105:111], [*values, 0.0], atol=1e-6)
    total = x.sum(0)
    assert np.allclose(found[111:119], np.log1p(
        np.quantile(total, [0.05, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1])))  # fmt: skip
    together = np.log1p(total)
    power = np.abs(np.fft.rfft(together - together.mean())) ** 2 / 64
    bands = power[8:16], power[16:24], power[24:]
    assert np.allclose(found[-14:-11], [np.log(b + 1e-6).mean() for b in bands])
    assert found[-11] == pytest.approx(np.log(together.var() + 1e-9))
    assert found[-10] == len(active) / 5
    assert np.allclose(found[-9:], np.quantile(np.log1p(rates), np.linspace(0, 1, 9)))


def test_silent_and_single_electrodes_have_statistics() -> None:
    silent = counts(3).counts.copy()
    silent[0] = 0
    silent[1, 1:] = 0
    for values in (silent, silent[:, :1]):
        assert np.isfinite(invariant_statistics(Wells(values, 0.5))).all()


@pytest.mark.parametrize("lag", [0, 17])
def test_lags_must_fit_the_recording(lag: int) -> None:
    with pytest.raises(SettingError, match=f"`longest_lag` must be 1 to 16, .* got {lag}"):
        invariant_statistics(counts(), longest_lag=lag)
    with pytest.raises(DataError, match="recordings of 3 bins; their statistics need 4 or more"):
        invariant_statistics(counts(bins=3))


def test_embeddings_come_back_from_a_file_and_no_element_changes_them(tmp_path: Path) -> None:
    wells = counts()
    model = StatisticsEncoder(latent=3, hidden=8, views=2)
    result = fit(model, wells, training=QUICK, chains=2, seed=0)
    place = result["posterior/embedding"].values
    assert place.shape == (2, 1, 12, 3)
    assert "log_likelihood" not in result.children
    moved = Wells(np.roll(wells.counts[:, [4, 2, 0, 1, 3]], 9, axis=2), 0.5)
    again = embed(load(save(result, tmp_path / "x.nc")), model, moved)
    assert np.abs(again["posterior/embedding"].values - place).max() < 1e-6


def test_embedding_depends_on_a_recording_alone_and_training_on_the_seed() -> None:
    wells = counts()
    model = StatisticsEncoder(latent=3, hidden=8, views=2)
    one, two, other = (fit(model, wells, training=QUICK, seed=s) for s in (4, 4, 5))
    place = one["posterior/embedding"].values
    assert np.array_equal(place, two["posterior/embedding"].values)
    assert not np.allclose(place, other["posterior/embedding"].values)
    part = embed(one, model, wells.select(np.arange(3)))
    assert np.allclose(part["posterior/embedding"].values, place[:, :, :3], atol=1e-6)


def test_one_recording_is_embedded_alone_and_of_a_training_of_others() -> None:
    wells = counts()
    model = StatisticsEncoder(latent=3, hidden=8, views=2)
    result = fit(model, wells, embed_wells=wells.select([5]), training=QUICK, seed=4)
    place = fit(model, wells, training=QUICK, seed=4)["posterior/embedding"].values
    assert np.allclose(result["posterior/embedding"].values, place[:, :, [5]], atol=1e-6)
    alone = embed(result, model, wells.select([7]))["posterior/embedding"].values
    assert np.allclose(alone, place[:, :, [7]], atol=1e-6)


def test_shares_that_round_up_or_down_by_chance_keep_their_ranks() -> None:
    """1021 of 1024 bins are empty: a tie at nine decimals, which sums of electrodes reach."""
    values = np.zeros((9, 6, 1024), dtype=np.int64)
    values[:8, :, [3, 400, 801]] = 1
    values[8, :3, ::2] = 2
    model = StatisticsEncoder(latent=2, hidden=4, views=1)
    scale = model.scale(model.inputs(Wells(values, 0.1), 0))
    near = np.nextafter(1021 / 1024, [0.0, 1.0])
    rounded = (near + statistics_encoder._OFFSET).round(statistics_encoder._DECIMALS)
    assert rounded[0] == rounded[1]
    seen = []
    for electrodes in (np.arange(6), np.arange(6)[::-1]):
        moved = np.roll(values[:, electrodes], 17 * electrodes[0], axis=2)
        seen.append(model.scaled(model.inputs(Wells(moved, 0.1)), scale))
    assert torch.allclose(*seen, atol=1e-9)


def test_kinds_of_recordings_are_told_apart_with_electrodes_missing() -> None:
    """Regular and bursting recordings of equal rates, electrodes dead at random."""
    rng = np.random.default_rng(0)
    kind = np.arange(60) % 2
    beat = np.where(rng.random((60, 1, 80)) < 0.2, 5.0, 0.0)
    rates = np.where(kind[:, None, None], beat, 1.0) * (rng.random((60, 6, 1)) > 0.3)
    wells = Wells(rng.poisson(rates), 0.5, labels={"plate": [f"p{k // 15}" for k in range(60)]})
    training = Training(epochs=60, batch_size=60, learning_rate=3e-3, validation=0, annealed=True)
    result = fit(StatisticsEncoder(latent=4, views=4), wells, training=training, seed=0)
    loss = result["fit_history/loss"].values[0]
    assert loss[-1] < 0.8 * loss[0]
    place = result["posterior/embedding"].values[0, 0]
    assert leave_groups_out(place, kind, wells.labels["plate"]).accuracy > 0.95


def test_silenced_electrodes_are_at_most_the_share_asked_for() -> None:
    model = StatisticsEncoder(silenced=0.5)
    alive = model._alive((400, 5, 8), np.random.default_rng(0))[:, :, 0].sum(1)
    assert set(alive) == {3, 4, 5}
    whole = StatisticsEncoder(silenced=0.0)._alive((4, 5, 8), np.random.default_rng(0))
    assert whole.all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": 0.0}, "`temperature` must be positive"),
        ({"views": 0}, "`views` must be 1 or more; got 0"),
        ({"silenced": 1.0}, "`silenced` must be 0 or more and below 1; got 1.0"),
        ({"dropout": -0.1}, "`dropout` must be 0 or more and below 1; got -0.1"),
    ],
)
def test_settings_are_checked(settings: dict, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        StatisticsEncoder(**settings)


def test_recordings_too_few_too_short_or_constant_are_refused() -> None:
    with pytest.raises(DataError, match="`wells` has 1 recordings; statistics_encoder tells 2 or"):
        fit(StatisticsEncoder(), counts(1), training=QUICK)
    with pytest.raises(DataError, match="recordings of 8 bins; halves"):
        fit(StatisticsEncoder(), counts(bins=8), training=QUICK)
    with pytest.raises(SettingError, match="`batch_size` must be 2 or more for statistics_encoder"):
        fit(StatisticsEncoder(), counts(), training=Training(batch_size=1))
    with pytest.raises(DataError, match="the same count everywhere"):
        fit(StatisticsEncoder(silenced=0), Wells(np.ones((4, 2, 32)), 1.0), training=QUICK)


def test_double_precision_is_kept() -> None:
    result = fit(StatisticsEncoder(latent=2, views=1), counts(), training=QUICK, seed=0,
                 dtype=torch.float64)  # fmt: skip
    assert result["posterior/embedding"].dtype == np.float64

"""Roll-AE against the orbit written out; invariance, conformance, training and messages."""

import math
from pathlib import Path

import numpy as np
import pyro
import pyro.poutine as poutine
import pytest
import torch
from pyro.infer import TraceEnum_ELBO

from probneuro.components.shifts import (
    BernoulliCounts,
    ElectrodeGroup,
    NegativeBinomialCounts,
    PoissonCounts,
    act,
    mirror_flips_323,
    no_permutation,
    symmetries_of_positions,
)
from probneuro.components.shifts.electrode_group import layout_323
from probneuro.core.errors import CheckpointError, DataError, InferenceError, SettingError
from probneuro.core.results import load, save
from probneuro.data import Wells
from probneuro.infer import infer
from probneuro.inference.svi import SVI
from probneuro.models.roll_ae import (
    ContrastiveEncoder,
    RollAE,
    Sizes,
    StandardAE,
    StatisticsEncoder,
    Training,
    descent,
    embed,
    fit,
    networks,
)
from probneuro.models.roll_ae.networks import decode, encode_orbit, encode_plain, initial_weights

GROUPS = {1: no_permutation(8), 4: mirror_flips_323(), 8: symmetries_of_positions(layout_323())}
EXACT = 1e-12


def orbit_by_loops(x: torch.Tensor, group: ElectrodeGroup) -> torch.Tensor:
    return torch.stack([x[:, list(p)].roll(s, -1) for p in group.permutations
                        for s in range(x.shape[-1])], 1)  # fmt: skip


def written_out(weights: dict, x: torch.Tensor, group: ElectrodeGroup) -> torch.Tensor:
    """Return the mean of the network over the orbit, element by element."""
    kernel = weights["encoder_first_weight"]
    wide = {**weights, "encoder_first_weight": torch.nn.functional.pad(
        kernel, (0, x.shape[-1] - kernel.shape[-1]))}  # fmt: skip
    orbit = orbit_by_loops(x, group)
    each = encode_plain(wide, orbit.flatten(0, 1))
    return each.reshape(*orbit.shape[:2], -1).mean(1)


def problem(bins: int, width: int | None, *, latent: int = 3) -> tuple[Sizes, dict, torch.Tensor]:
    sizes = Sizes(num_electrodes=8, num_bins=bins, latent=latent, kernel_width=width)
    shapes = {**sizes.encoder_shapes(), **sizes.decoder_shapes()}
    weights = initial_weights(shapes, 1, torch.float64)
    x = torch.as_tensor(np.random.default_rng(2).normal(size=(2, 8, bins)))
    return sizes, weights, x


@pytest.mark.parametrize("width", [None, 5])
@pytest.mark.parametrize(("size", "bins"), [(1, 13), (4, 32), (8, 13), (4, 60), (1, 300)])
def test_encoder_and_gradient_equal_brute_force(size: int, bins: int, width: int | None) -> None:
    _, weights, x = problem(bins, width)
    found = []
    for encoder in (encode_orbit, written_out):
        own = {n: w.clone().requires_grad_() for n, w in weights.items() if "encoder" in n}
        value = encoder(own, x, GROUPS[size])
        value.square().sum().backward()
        found.append([value.detach(), *(w.grad for w in own.values())])
    for fast, exact in zip(*found, strict=True):
        assert float((fast - exact).abs().max() / exact.abs().max()) < EXACT


def test_computing_in_chunks_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    _, weights, x = problem(32, None)
    own = {n: w.clone().requires_grad_() for n, w in weights.items() if "encoder" in n}
    results = []
    for limit in (2**30, 1):
        monkeypatch.setattr(networks, "_CHUNK", limit)
        value = encode_orbit(own, x, GROUPS[4])
        results.append([value.detach(), *torch.autograd.grad(value.sum(), list(own.values()))])
    assert all(torch.allclose(a, b, rtol=1e-12, atol=1e-14) for a, b in zip(*results, strict=True))


@pytest.mark.parametrize("share", [0.02, 0.5])
def test_some_elements_are_gathered_or_selected_alike(share: float) -> None:
    _, weights, x = problem(32, None)
    group = GROUPS[4]
    numbers = torch.as_tensor(np.random.default_rng(0).permutation(128)[: int(share * 128)])
    each = torch.stack([
        encode_plain(weights, act(x, group, torch.full((2,), int(n)))) for n in numbers
    ])  # fmt: skip
    assert torch.allclose(encode_orbit(weights, x, group, numbers), each.mean(0), rtol=1e-11)


@pytest.mark.parametrize("width", [None, 8])
@pytest.mark.parametrize("size", GROUPS)
def test_embeddings_do_not_change_under_the_group(size: int, width: int | None) -> None:
    _, weights, x = problem(60, width)
    small = {n: w.float() for n, w in weights.items()}
    before = encode_orbit(small, x.float(), GROUPS[size])
    elements = torch.randint(
        GROUPS[size].num_elements(60), (2,), generator=torch.Generator().manual_seed(0)
    )
    after = encode_orbit(small, act(x.float(), GROUPS[size], elements), GROUPS[size])
    assert float((after - before).abs().max()) < 1e-6
    plain = encode_plain(small, x.float()) if width is None else None
    if plain is not None:
        moved = encode_plain(small, act(x.float(), GROUPS[size], elements))
        assert float((moved - plain).abs().max()) > 1e-3, "the autoencoder is not invariant"


def counts(num: int = 6, bins: int = 12, electrodes: int = 2, *, seed: int = 0) -> Wells:
    rng = np.random.default_rng(seed)
    values = rng.poisson(0.7, (num, electrodes, bins))
    return Wells(values, 0.5, labels={"plate": ["p"] * num, "well": [f"A{k}" for k in range(num)]})


PAIR = ElectrodeGroup(((0, 1), (1, 0)))


@pytest.mark.parametrize("likelihood", [PoissonCounts(), NegativeBinomialCounts(2.0)])
def test_summed_program_equals_the_enumerated_one(likelihood) -> None:
    """The fast form's log density against Pyro's own enumeration of the element."""
    wells = counts()
    losses = []
    for summed in (True, False):
        model = RollAE(group=PAIR, latent=3, likelihood=likelihood, objective="marginal",
                       summed=summed)  # fmt: skip
        losses.append(elbo(model, wells))
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


def elbo(model: RollAE, wells: Wells) -> float:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    store = pyro.get_param_store()
    try:
        with store.scope(), pyro.validation_enabled(False):
            loss = TraceEnum_ELBO(max_plate_nesting=1).loss(model.model, model.guide, wells)
    finally:
        torch.set_default_dtype(before)
    return float(loss)


def test_log_likelihood_of_the_result_is_that_of_the_trace() -> None:
    wells = counts()
    model = RollAE(group=PAIR, latent=3, likelihood=PoissonCounts(), objective="marginal")
    result = fit(model, wells, training=Training(epochs=1), seed=0, dtype=torch.float64)
    weights = {str(n): torch.as_tensor(result["parameters"].dataset[n].values[0, 0])
               for n in result["parameters"].dataset.data_vars}  # fmt: skip
    place = torch.as_tensor(result["posterior/embedding"].values[0, 0])
    given = {**{n: w for n, w in weights.items() if n.startswith("decoder")}}
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    store = pyro.get_param_store()
    try:
        with store.scope():
            for name, value in given.items():
                pyro.param(name, value)
            conditioned = poutine.condition(model.model, {"embedding": place})
            trace = poutine.trace(conditioned).get_trace(wells)
            trace.compute_log_prob()
            exact = trace.nodes["counts"]["log_prob"].detach().numpy()
    finally:
        torch.set_default_dtype(before)
    assert np.allclose(result["log_likelihood/counts"].values[0, 0], exact, rtol=1e-6)


def test_training_lowers_the_loss_and_is_repeated_by_its_seed() -> None:
    wells = counts(24)
    model = RollAE(group=PAIR, latent=4, kernel_width=4)
    settings = Training(epochs=15, batch_size=8, learning_rate=3e-3, validation=0.0)
    one, two = (fit(model, wells, training=settings, chains=2, seed=5) for _ in range(2))
    assert np.array_equal(one["posterior/embedding"], two["posterior/embedding"])
    loss = one["fit_history/loss"].values
    assert (loss[:, -1] < 0.97 * loss[:, 0]).all()
    assert not np.allclose(one["posterior/embedding"][0], one["posterior/embedding"][1])


@pytest.mark.parametrize(
    "model",
    [
        RollAE(group=PAIR, latent=3, shift_rate=1.0),
        RollAE(group=PAIR, latent=3, likelihood=PoissonCounts(), objective="marginal",
               guide_family="normal", kernel_width=4, shift_rate=0.5),
        StandardAE(group=PAIR, latent=3),
        StandardAE(group=PAIR, latent=3, augmentation="uniform"),
        StandardAE(group=PAIR, latent=3, augmentation="half_mass"),
    ],
)  # fmt: skip
def test_result_comes_back_from_its_file_and_embeds_others(model, tmp_path: Path) -> None:
    wells = counts(10)
    result = fit(model, wells, training=Training(epochs=2, batch_size=4), chains=2, seed=1)
    assert result["posterior/embedding"].dims == ("chain", "draw", "recording", "latent")
    again = load(save(result, tmp_path / "x.nc"))
    others = embed(again, model, wells)
    assert np.array_equal(others["posterior/embedding"], result["posterior/embedding"])
    assert np.array_equal(others["log_likelihood/counts"], result["log_likelihood/counts"])
    assert list(result["constant_data"].dataset["well"].values) == list(wells.labels["well"])


def test_halves_of_a_recording_learn_to_know_each_other(tmp_path: Path) -> None:
    """Recordings of different rates: the loss falls below that of guessing, and embeddings with."""
    rng = np.random.default_rng(0)
    rates = np.linspace(0.05, 3.0, 40)
    wells = Wells(rng.poisson(rates[:, None, None], (40, 2, 40)), 0.5)
    model = ContrastiveEncoder(group=PAIR, latent=4, kernel_width=4)
    settings = Training(epochs=60, batch_size=40, learning_rate=1e-2, validation=0.0, annealed=True)
    result = fit(model, wells, training=settings, seed=0)
    loss = result["fit_history/loss"].values[0]
    assert loss[-1] < 0.75 * np.log(40) < loss[0]
    assert "log_likelihood" not in result.children
    place = result["posterior/embedding"].values[0, 0]
    fitted = np.linalg.lstsq(np.c_[place, np.ones(40)], rates, rcond=None)[0]
    assert np.corrcoef(np.c_[place, np.ones(40)] @ fitted, rates)[0, 1] > 0.95
    moved = Wells(np.roll(wells.counts[:, ::-1], 7, -1), 0.5)
    again = embed(load(save(result, tmp_path / "x.nc")), model, moved)
    assert np.allclose(again["posterior/embedding"].values[0, 0], place, atol=1e-5)


@pytest.mark.parametrize("stopped", [1, 3])
@pytest.mark.parametrize(
    "model",
    [
        RollAE(group=PAIR, latent=3, likelihood=PoissonCounts(), objective="marginal",
               guide_family="normal", shift_rate=0.5),
        ContrastiveEncoder(group=PAIR, latent=3, kernel_width=4),
        StatisticsEncoder(latent=3, hidden=8, views=2),
    ],
)  # fmt: skip
def test_a_stopped_training_goes_on_to_the_same_weights(
    model, stopped: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second restart is stopped in the middle, as by a kill; the call is made again."""
    wells = counts(20, bins=16)
    settings = Training(epochs=4, batch_size=5, learning_rate=3e-3, annealed=True)
    whole = fit(model, wells, training=settings, chains=2, seed=3)
    written = descent.write_atomically
    left = [4 + stopped]

    def until(path: Path, content: bytes) -> None:
        written(path, content)
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt

    monkeypatch.setattr(descent, "write_atomically", until)
    again = {"training": settings, "chains": 2, "seed": 3, "checkpoint": tmp_path / "run"}
    with pytest.raises(KeyboardInterrupt):
        fit(model, wells, **again)
    monkeypatch.setattr(descent, "write_atomically", written)
    resumed = fit(model, wells, **again)
    for group in ("posterior", "parameters", "fit_history"):
        assert resumed[group].dataset.equals(whole[group].dataset), group


def test_a_checkpoint_is_of_one_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model, folder = RollAE(group=PAIR, latent=3), tmp_path / "run"
    first = fit(model, counts(), training=Training(epochs=2), seed=0, checkpoint=folder)
    with pytest.raises(CheckpointError, match="`seed` was 0, is now 1"):
        fit(model, counts(), training=Training(epochs=2), seed=1, checkpoint=folder)
    (folder / "restart-0.npz").write_bytes(b"torn")
    second = fit(model, counts(), training=Training(epochs=2), seed=0, checkpoint=folder)
    assert "is damaged; this restart begins anew" in caplog.text
    assert second["parameters"].dataset.equals(first["parameters"].dataset)


def test_progress_tells_epochs_and_losses(capsys: pytest.CaptureFixture[str]) -> None:
    fit(RollAE(group=PAIR, latent=3), counts(), training=Training(epochs=1), seed=0, progress=True)
    assert capsys.readouterr().out == ""


def test_early_stopping_keeps_the_best_weights() -> None:
    wells = counts(20)
    model = RollAE(group=PAIR, latent=4)
    settings = Training(epochs=60, batch_size=4, learning_rate=0.02, validation=0.3, patience=3)
    history = fit(model, wells, training=settings, seed=0)["fit_history"].dataset
    checked = history["validation_loss"].values[0]
    assert len(checked) < 60
    assert int(np.argmin(checked)) == len(checked) - 4


def test_global_streams_are_left_alone() -> None:
    before = torch.get_rng_state()
    fit(RollAE(group=PAIR, latent=3), counts(), training=Training(epochs=1), seed=0)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("family", ["delta", "normal"])
def test_infer_runs_the_program(family: str) -> None:
    model = RollAE(group=PAIR, latent=3, likelihood=BernoulliCounts(), objective="marginal",
                   guide_family=family)  # fmt: skip
    wells = Wells((counts().counts > 0).astype(int), 0.5)
    result = infer(model, wells, engine=SVI(steps=5), draws=3, chains=1, seed=0, progress=False)
    assert result["posterior/embedding"].shape == (1, 3, 6, 3)


def test_sampled_recordings_have_the_density_they_claim() -> None:
    """The marginal of one binary electrode of three bins: frequencies of all eight recordings."""
    from probneuro.models.roll_ae import OrbitMarginal

    output = torch.tensor([[-1.0, 0.5, 2.0]], dtype=torch.float64)
    marginal = OrbitMarginal(BernoulliCounts(), output, no_permutation(1))
    every = torch.tensor([[[float(b) for b in f"{k:03b}"]] for k in range(8)], dtype=torch.float64)
    probability = marginal.log_prob(every).exp()
    assert float(probability.sum()) == pytest.approx(1.0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        drawn = marginal.sample((4000,))
    number = (drawn[:, 0] * torch.tensor([4.0, 2.0, 1.0])).sum(-1).long()
    found = torch.bincount(number, minlength=8) / 4000
    error = (probability * (1 - probability) / 4000).sqrt()
    assert float(((found - probability) / error).abs().max()) < 4.9


def test_decoder_has_the_shape_of_a_recording() -> None:
    sizes, weights, _ = problem(13, None)
    assert decode(weights, torch.zeros(4, 3, dtype=torch.float64), sizes).shape == (4, 8, 13)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"shift_rate": 0.0}, "`shift_rate` must be above 0"),
        ({"objective": "x"}, "`objective` must be 'nearest' or 'marginal'"),
        ({"guide_family": "x"}, "`guide_family` must be 'delta' or 'normal'"),
        ({"likelihood": PoissonCounts()}, "`objective` 'nearest' is a squared error"),
        ({"guide_family": "normal"}, "`guide_family` 'normal' has no meaning"),
    ],
)
def test_settings_are_checked(settings: dict, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        RollAE(**settings)


def test_other_messages() -> None:
    with pytest.raises(SettingError, match="`kernel_width` must be 1 to 5"):
        Sizes(num_electrodes=2, num_bins=5, kernel_width=6)
    with pytest.raises(SettingError, match="`latent` must be 1 or more"):
        Sizes(num_electrodes=2, num_bins=5, latent=0)
    with pytest.raises(SettingError, match="`augmentation` must be None"):
        StandardAE(augmentation="x")
    with pytest.raises(SettingError, match="`batch_size` must be positive; got 0"):
        Training(batch_size=0)
    with pytest.raises(SettingError, match="`validation` must be 0 or more"):
        Training(validation=1.0)
    with pytest.raises(DataError, match="`wells` has 2 electrodes, the group permutes 8"):
        fit(RollAE(), counts())
    with pytest.raises(SettingError, match="`temperature` must be positive; got 0"):
        ContrastiveEncoder(temperature=0)
    with pytest.raises(SettingError, match="`kernel_width` must be at most 6, half the bins"):
        fit(ContrastiveEncoder(group=PAIR), counts())
    with pytest.raises(DataError, match="`wells` has 1 recordings; contrastive_encoder tells 2"):
        fit(ContrastiveEncoder(group=PAIR), counts(1))
    with pytest.raises(DataError, match="recordings of 1 bins, and half of one is none"):
        fit(ContrastiveEncoder(group=PAIR), counts(bins=1))
    with pytest.raises(DataError, match="the same count everywhere"):
        fit(RollAE(group=PAIR), Wells(np.ones((2, 2, 4)), 1.0))
    with pytest.raises(SettingError, match="`chains` must be 1 or more"):
        fit(RollAE(group=PAIR), counts(), chains=0)
    wild = Training(epochs=30, learning_rate=1e12, validation=0.0)
    with pytest.raises(InferenceError, match=r"The loss of roll_ae is .* Lower `learning_rate`"):
        fit(RollAE(group=PAIR, latent=3), counts(), training=wild, seed=0)


def test_embedding_asks_for_the_same_model_and_size() -> None:
    model = RollAE(group=PAIR, latent=3)
    result = fit(model, counts(), training=Training(epochs=1), seed=0)
    with pytest.raises(DataError, match="trained with other settings"):
        embed(result, RollAE(group=PAIR, latent=4), counts())
    with pytest.raises(DataError, match=r"2 electrodes and 13 bins of .* had 2 and 12"):
        embed(result, model, counts(bins=13))
    wider = Wells(counts().counts, 9.0)
    with pytest.raises(DataError, match="`wells` has 2 electrodes and 12 bins of 9 s, the traini"):
        embed(result, model, wider)
    with pytest.raises(DataError, match="`embed_wells` has 2 electrodes and 12 bins of 9 s"):
        fit(model, counts(), embed_wells=wider, training=Training(epochs=1))
    older = result.copy(deep=True)
    del older.attrs["scaled_by"]
    with pytest.raises(DataError, match=r"an older version wrote it\. Call fit again"):
        embed(older, model, counts())
    assert math.isfinite(float(result.attrs["seconds"]))

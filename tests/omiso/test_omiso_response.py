"""Response models: the programs' densities, ensembles by session, and the exact bilinear update."""

import numpy as np
import pyro
import pytest
import torch

from probneuro import infer
from probneuro.components.bilinear import BilinearPosterior, bilinear_features
from probneuro.core.errors import CapabilityError, DataError, SettingError
from probneuro.data.latent_trials import LatentTrials
from probneuro.inference.ensemble import Ensemble
from probneuro.models.omiso import BilinearResponse, PatternCNN, ResponseModel, StateLSTM, StateMLP

pytestmark = pytest.mark.slow  # a statistical suite: minutes, not seconds

SMALL = PatternCNN(channels=(4, 4), width=8, features=6)


def trials_of(seed: int, number: int = 240, interaction: float = 1.0) -> LatentTrials:
    """Return trials whose response hangs on pattern, state and their product."""
    rng = np.random.default_rng(seed)
    patterns = rng.random((number, 6)) < 0.4
    before = rng.normal(size=(number, 3, 2))
    drive = np.random.default_rng(9).normal(size=(6, 2))
    gain = 1 + interaction * before[:, -1, :1]
    after = 0.5 * before[:, -1] + gain * (patterns @ drive) + 0.2 * rng.normal(size=(number, 2))
    return LatentTrials(
        patterns, before, after, session=np.arange(number) % 3, candidates=np.arange(6), grid=(2, 3)
    )


@pytest.mark.parametrize("state", [None, StateMLP(bins=2, width=5), StateLSTM(bins=3, features=4)])
def test_log_density_of_a_member_is_the_programs(state) -> None:
    model = ResponseModel(pattern=SMALL, state=state, epochs=1)
    data = trials_of(0, 20)
    sites, _ = model.fit_member(data, 0, 1)
    point = {name: torch.tensor(value) for name, value in sites.items()}
    program = pyro.poutine.condition(model.model, data=point)
    trace = pyro.poutine.trace(program).get_trace(data)
    trace.compute_log_prob()
    residual = (data.after - model.predict(sites["weights"], data)) / sites["noise_scale"]
    expected = -0.5 * (residual**2 + np.log(2 * np.pi) + 2 * np.log(sites["noise_scale"])).sum()
    assert trace.nodes["after"]["log_prob_sum"].item() == pytest.approx(expected, rel=1e-9)


def test_the_state_helps_on_held_out_sessions_where_it_matters() -> None:
    settings = {"epochs": 60, "learning_rate": 5e-3}
    gaps = []
    for seed in range(2):
        data = trials_of(seed)
        errors = {}
        for name, state in {"alone": None, "with": StateMLP(bins=1, width=16)}.items():
            model = ResponseModel(pattern=SMALL, state=state, **settings)
            result = infer(model, data, seed=seed, progress=False)
            assert result.posterior.sizes["draw"] == 3
            errors[name] = result["fit_history/left_out_error"].values[:, -1]
        gaps.append(errors["alone"] - errors["with"])
    assert np.mean(gaps) > 0.3


def test_ensembles_are_the_same_again_and_leave_torch_as_it_was() -> None:
    data, model = trials_of(0, 30), ResponseModel(pattern=SMALL, epochs=1, state=StateMLP(bins=2))
    torch.manual_seed(3)
    before = torch.rand(1)
    torch.manual_seed(3)
    first = infer(model, data, seed=1, progress=False).posterior["weights"]
    assert torch.rand(1) == before
    again = infer(model, data, seed=1, progress=False).posterior["weights"]
    assert np.array_equal(first, again)


def test_bilinear_posterior_is_that_of_the_normal_equations() -> None:
    data, model = trials_of(1, 60), BilinearResponse()
    prior, phi = model.prior(data), model.features(data)
    precision = np.linalg.inv(prior.covariance) + phi.T @ phi
    mean = np.linalg.solve(precision, phi.T @ data.after)
    whole = model.posterior(data)
    assert np.allclose(whole.mean, mean) and np.allclose(whole.covariance, np.linalg.inv(precision))
    one_by_one = prior
    for row, y in zip(phi, data.after, strict=True):
        one_by_one = one_by_one.updated(row[None], y[None])
    assert np.allclose(one_by_one.mean, whole.mean, atol=1e-8)
    assert np.allclose(one_by_one.covariance, whole.covariance, atol=1e-8)


def test_bilinear_density_and_evidence_are_the_programs() -> None:
    data, model = trials_of(2, 25), BilinearResponse()
    phi, posterior = model.features(data), model.posterior(data)
    # log p(y) = log p(y, W) - log p(W | y) at any W.
    weights = posterior.drawn(np.random.default_rng(0))
    program = pyro.poutine.condition(model.model, data={"weights": torch.tensor(weights)})
    joint = pyro.poutine.trace(program).get_trace(data).log_prob_sum().item()
    scaled = (weights - posterior.mean) / np.sqrt(posterior.noise_variance)
    size, latents = scaled.shape
    logdet = np.linalg.slogdet(posterior.covariance)[1]
    conditional = -0.5 * (scaled * np.linalg.solve(posterior.covariance, scaled)).sum()
    conditional -= 0.5 * latents * (logdet + size * np.log(2 * np.pi))
    conditional -= 0.5 * size * np.log(posterior.noise_variance).sum()
    evidence = model.prior(data).log_evidence(phi, data.after)
    assert joint - conditional == pytest.approx(evidence, rel=1e-9)


def test_drift_forgets() -> None:
    prior = BilinearPosterior.prior(3, 2)
    phi = bilinear_features(np.eye(3), np.zeros((3, 2)))
    told = prior.updated(phi, np.ones((3, 2)))
    assert (np.diagonal(told.drifted(0.1).covariance) > np.diagonal(told.covariance)).all()


def test_refusals_say_what_to_do() -> None:
    with pytest.raises(SettingError, match="`pattern` and `state` are both None"):
        ResponseModel(pattern=None, state=None)
    with pytest.raises(DataError, match=r"`before` has 3 bins.*fewer bins"):
        ResponseModel(pattern=SMALL).predict(np.zeros(3), trials_of(0, 5))
    with pytest.raises(DataError, match=r"`before` has 3 bins.*fewer bins"):
        infer(ResponseModel(pattern=SMALL), trials_of(0, 20), progress=False)
    with pytest.raises(CapabilityError, match=r"Ensemble fits models that say.*Use NUTS"):
        infer(BilinearResponse(), trials_of(0, 5), engine=Ensemble(), progress=False)
    with pytest.raises(SettingError, match="`drive_scale` must be positive"):
        BilinearPosterior.prior(3, 2, drive_scale=0.0)
    with pytest.raises(SettingError, match="`noise_variance` must be positive"):
        BilinearPosterior.prior(3, 2, noise_variance=0.0)

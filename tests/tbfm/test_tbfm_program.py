"""The closed form is the program's: the guide is the exact posterior, whatever engine draws."""

import numpy as np
import pyro
import pytest
import torch

import probneuro as pn
from probneuro.core.errors import CapabilityError, SettingError
from probneuro.data import StimTrials
from probneuro.inference.closed_form import ClosedForm
from probneuro.inference.nuts import NUTS
from probneuro.models.tbfm import TBFM
from probneuro.models.tbfm.matrix_normal import MatrixNormal
from probneuro.simulators.stim_lfp import simulate_paired_pulses
from probneuro.testing.stats import LARGEST_Z, moment_z_scores

MODEL = TBFM(num_bases=2, own=0.01, cross=0.5)


def data(gaps: bool = False) -> StimTrials:
    made = simulate_paired_pulses(40, 2, interval=(0.01, 0.05), seed=4).trials
    values = np.array(made.values[:, :, 17:50])
    if gaps:
        values[3, 0, 20] = np.nan
        values[8, 1, 2] = np.nan
        values[9, 1, 0] = np.nan
    late = np.where(made.pulses[:, 1:] > 0.06, 0.025, 0.02)
    return StimTrials(values, sampling_rate=1000, runway=3, pulses=late)


@pytest.mark.parametrize("gaps", [False, True])
def test_the_guide_is_the_posterior(gaps: bool) -> None:
    """Program less guide is the log evidence: the same number at every draw."""
    trials = data(gaps)
    evidence = []
    for seed in range(5):
        pyro.set_rng_seed(seed)
        guide = pyro.poutine.trace(MODEL.guide).get_trace(trials)
        program = pyro.poutine.trace(pyro.poutine.replay(MODEL.model, trace=guide))
        trace = program.get_trace(trials)
        evidence.append(float(trace.log_prob_sum() - guide.log_prob_sum()))
    assert np.ptp(evidence) < 1e-6 * abs(evidence[0])


def test_a_guide_that_is_off_would_be_seen() -> None:
    trials = data()
    values = []
    for shift in (0.0, 0.1):
        pyro.set_rng_seed(1)
        guide = pyro.poutine.trace(MODEL.guide).get_trace(trials)
        density = float(guide.log_prob_sum())
        site = guide.nodes["coefficient"]
        site["value"] = site["value"] + shift
        program = pyro.poutine.trace(pyro.poutine.replay(MODEL.model, trace=guide))
        values.append(float(program.get_trace(trials).log_prob_sum()) - density)
    assert abs(values[0] - values[1]) > 1e-6 * abs(values[0])


@pytest.mark.stat
@pytest.mark.parametrize("seed", range(2))
def test_draws_have_the_posteriors_moments(seed: int) -> None:
    trials = data()
    result = pn.infer(MODEL, trials, draws=400, chains=2, seed=seed, progress=False)
    posterior = MODEL.closed_form(trials)
    drawn = result.posterior["coefficient"].values
    for channel, (mean, lower) in enumerate(posterior.factors()):
        rows = np.linalg.inv(lower @ lower.T)
        columns = posterior.columns[channel] @ posterior.columns[channel].T
        variance = np.outer(np.diag(rows), np.diag(columns))
        z = moment_z_scores(drawn[:, :, channel], mean, variance)
        assert np.abs(z).max() < LARGEST_Z


@pytest.mark.stat
def test_nuts_on_the_program_agrees() -> None:
    made = simulate_paired_pulses(20, 1, seed=4).trials
    trials = StimTrials(made.values[:, :, 18:26], sampling_rate=1000, runway=2, pulses=[0.005])
    model = TBFM(num_bases=1, own=1.0, cross=1.0)
    result = pn.infer(
        model, trials, engine=NUTS(warmup=80), draws=150, chains=2, seed=0, progress=False
    )
    mean, lower = model.closed_form(trials).factors()[0]
    columns = model.closed_form(trials).columns[0]
    variance = np.diag(np.linalg.inv(lower @ lower.T))[:, None] * (columns @ columns.T)
    z = moment_z_scores(result.posterior["coefficient"].values[:, :, 0], mean, variance)
    assert np.abs(z).max() < LARGEST_Z


def test_matrix_normal_is_a_multivariate_normal() -> None:
    torch.manual_seed(0)
    rows = torch.linalg.cholesky(torch.eye(3) * 2 + 0.3).double()
    columns = torch.linalg.cholesky(torch.eye(2) + 0.5).double()
    loc = torch.randn(4, 3, 2).double()
    law = MatrixNormal(loc, rows.expand(4, 3, 3), columns.expand(4, 2, 2))
    covariance = torch.kron(
        torch.linalg.inv(rows @ rows.T).contiguous(), (columns @ columns.T).contiguous()
    )
    flat = torch.distributions.MultivariateNormal(loc.flatten(1), covariance)
    value = law.sample()
    assert torch.allclose(law.log_prob(value), flat.log_prob(value.flatten(1)))
    assert law.expand([5, 4]).sample().shape == (5, 4, 3, 2)


def test_large_posteriors_are_left_out_of_the_result() -> None:
    trials = data()
    engine = ClosedForm(max_gib=0)
    result = pn.infer(MODEL, trials, engine=engine, draws=2, chains=1, seed=0, progress=False)
    assert "posterior" not in result.children
    assert result["parameters/bases"].sizes == {"chain": 1, "draw": 1, "basis": 2, "horizon": 30}


def test_the_same_seed_gives_the_same_draws() -> None:
    trials = data()
    one, two = (
        pn.infer(MODEL, trials, draws=3, chains=2, seed=7, progress=False) for _ in range(2)
    )
    assert np.array_equal(one.posterior["coefficient"], two.posterior["coefficient"])


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(CapabilityError, match="ClosedForm needs a model whose posterior is known"):
        pn.infer(lambda: None, engine=ClosedForm(), progress=False)
    with pytest.raises(SettingError, match="`max_gib` must not be negative"):
        ClosedForm(max_gib=-1)
    with pytest.raises(SettingError, match="`own` must be positive"):
        TBFM(own=0.0)
    with pytest.raises(SettingError, match="`held_out` must lie between 0 and 1"):
        TBFM(held_out=1.0)
    with pytest.raises(SettingError, match="`max_bases` must be at least 1"):
        TBFM(max_bases=0)

"""Factor analysis beside scikit-learn's: likelihood, and processor time as a ratio.

``python benchmarks/factor_analysis.py --seeds 20 --strength 0.3`` ; ``--cv`` for cross-validation.
"""

import argparse
import time

import numpy as np
from sklearn.decomposition import FactorAnalysis
from sklearn.model_selection import KFold, cross_val_score

from probneuro.core.factor_analysis import FactorMoments, fit_em, fit_profile
from probneuro.core.factor_selection import cross_validate


def counts_of(seed: int, strength: float, size: int, time_bins: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    loading = strength * rng.normal(size=(size, 5))
    level = rng.normal(size=(time_bins, 5)) @ loading.T - 0.5 * (loading**2).sum(axis=1)
    rates = rng.gamma(2.0, 4.0, size) + 1.0
    return rng.poisson(0.05 * rates * np.exp(level)).astype(float)


def timed(work):
    start = time.process_time()
    return work(), time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--strength", type=float, default=0.3)
    parser.add_argument("--size", type=int, default=85)
    parser.add_argument("--bins", type=int, default=3600)
    parser.add_argument("--cv", action="store_true")
    settings = parser.parse_args()
    gaps, ems, ratios = [], [], []
    for seed in range(settings.seeds):
        counts = counts_of(seed, settings.strength, settings.size, settings.bins)
        if settings.cv:
            _, own = timed(lambda c=counts: cross_validate(c, tuple(range(1, 11))))
            folds = KFold(10, shuffle=True, random_state=0)
            models = [FactorAnalysis(m, svd_method="lapack", tol=1e-2) for m in range(1, 11)]
            _, theirs = timed(
                lambda c=counts, f=folds, ms=models: [cross_val_score(m, c, cv=f) for m in ms]
            )
            print(f"seed {seed}: scikit-learn over ours {theirs / own:.1f} ({own:.2f} s)")
            continue
        fit, own = timed(lambda c=counts: fit_profile(FactorMoments.of(c), 5))
        em = fit_em(FactorMoments.of(counts), 5)
        model = FactorAnalysis(5, svd_method="lapack", tol=1e-6, max_iter=20_000)
        _, theirs = timed(lambda m=model, c=counts: m.fit(c))
        gaps.append(fit.log_likelihood - model.score(counts))
        ems.append(fit.log_likelihood - em.log_likelihood)
        ratios.append(theirs / own)
        print(f"seed {seed}: ours minus theirs {gaps[-1]:+.2e} nats, time ratio {ratios[-1]:.1f}")
    if gaps:
        print(
            f"least gap {min(gaps):+.2e}, profile minus EM {min(ems):+.2e} to {max(ems):+.2e}, "
            f"time ratio median {np.median(ratios):.1f}, least {min(ratios):.1f}"
        )


if __name__ == "__main__":
    main()

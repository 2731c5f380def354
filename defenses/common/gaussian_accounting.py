"""Guarantees of Gaussian mechanisms (Dong et al., arXiv:1905.02383), by opacus' accountant."""

from __future__ import annotations

import math
from dataclasses import replace

from bench.interfaces import (
    CLIENT_UPDATE,
    LOSS_GRADIENT,
    NOISE_TARGET,
    PREDICTION_DOWN,
    Guarantee,
    NoiseSchedule,
)


def epsilon_of(mu: float, delta: float) -> float:
    """Return the epsilon of the (epsilon, delta)-differential privacy of a mu-GDP mechanism.

    Return infinity where epsilon is above 500, up to which the accountant searches.
    """
    from opacus.accountants.analysis.gdp import eps_from_mu

    try:
        return float(eps_from_mu(mu=mu, delta=delta))
    except ValueError:
        return math.inf


def gaussian_mu(epsilon: float, delta: float) -> float:
    """Return the largest mu of a Gaussian mechanism that is (epsilon, delta)-private."""
    from opacus.accountants.analysis.gdp import delta_eps_mu
    from scipy.optimize import brentq

    return float(brentq(lambda mu: delta_eps_mu(eps=epsilon, mu=mu) - delta, 1e-6, 1e3))


def latent_statement(
    snr: float,
    sensitivity: float,
    delta: float,
    releases: int,
    *,
    once: bool = False,
    unit: str = "one record's image latent z0",
) -> Guarantee:
    """Return the guarantee of the noising process: mu = D sqrt(snr).

    Args:
        snr: sum of SNR_t over the releases that reveal something new.
        sensitivity: D, the largest l2 distance between two latents that the statement covers.
        delta: delta of the (epsilon, delta) statement.
        releases: how many releases of a record the statement covers.
        once: whether all releases are identical, so that they count as one.
        unit: what two neighbouring inputs differ in.
    """
    mu = sensitivity * math.sqrt(snr)
    return Guarantee(
        epsilon=epsilon_of(mu, delta),
        delta=delta,
        unit=f"{unit}, its condition held fixed",
        sensitivity=f"l2 distance {sensitivity:g} between latents; nothing is clipped to it",
        releases=releases,
        voided_by=(NOISE_TARGET, PREDICTION_DOWN, CLIENT_UPDATE),
        mu=mu,
        once=once,
    )


def with_noisy_target(
    statement: Guarantee, sigma: float, schedule: NoiseSchedule, *, memoised: bool
) -> Guarantee:
    """Return the statement of a noising process whose noise is known up to N(0, sigma^2 I).

    Given x_t = a z0 + b eps and eps + eta, the information on z0 grows from SNR_t to SNR_t (1 + 1 /
    sigma^2), and over k releases of one (t, eps) with k independent eta to SNR_t (1 + k / sigma^2).
    The statement is returned unchanged where the network predicts v, since a target v carries the
    latent itself.

    Args:
        statement: the statement without the noisy target.
        sigma: standard deviation of eta.
        schedule: the model's noising process.
        memoised: whether equal t and eps always come with equal eta.
    """
    if (
        statement.mu is None
        or NOISE_TARGET not in statement.voided_by
        or schedule.prediction != "epsilon"
    ):
        return statement
    targets = statement.releases if statement.once and not memoised else 1
    mu = statement.mu * math.sqrt(1 + targets / sigma**2)
    voided_by = tuple(
        c for c in statement.voided_by if c not in (NOISE_TARGET, PREDICTION_DOWN, LOSS_GRADIENT)
    )
    return replace(statement, epsilon=epsilon_of(mu, statement.delta), mu=mu, voided_by=voided_by)

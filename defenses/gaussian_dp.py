"""What a Gaussian mechanism guarantees (Dong et al., arXiv:1905.02383): mu into epsilon, by opacus' accountant."""

from __future__ import annotations

import math


def epsilon_of(mu: float, delta: float) -> float:
    """The epsilon of (epsilon, delta)-differential privacy of a mu-GDP mechanism; infinite where none is worth stating.

    The accountant searches up to 500.
    """
    from opacus.accountants.analysis.gdp import eps_from_mu

    try:
        return float(eps_from_mu(mu=mu, delta=delta))
    except ValueError:
        return math.inf

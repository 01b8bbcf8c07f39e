"""Variances of estimators of a gradient, in closed form, on a case where all of them have one.

The case: ``f(x) = sum_i (x_i - k)^2`` of ``d`` independent normal numbers of mean ``mu`` and standard deviation ``s``;
the derivative of ``E[f(x)]`` by the first mean is ``2 D`` with ``D = mu - k``. Variances are of one draw.
"""

from typing import Any

import numpy as np

__all__ = ["ESTIMATORS", "gradient_variance", "quadratic", "score_variance"]

ESTIMATORS = (
    ("reparameterised", "none"),
    ("score", "none"),
    ("score", "constant"),
    ("score", "leave-one-out"),
    ("score", "local-linear"),
    ("measure-valued", "none"),
    ("finite-difference", "none"),
)
"""Methods and control variates of ``expectation`` whose variance is known here."""


def quadratic(x: Any, centre: Any = 0.0) -> Any:
    """``sum_i (x_i - centre)^2`` over the last axis."""
    return ((x - centre) ** 2).sum(-1)


def gradient_variance(
    method: str, control_variate: str, distance: Any, scale: Any, dimension: Any = 1, *, group: int = 16
) -> Any:
    """The variance of one draw's derivative by the first mean.

    With ``R`` the sum over the other ``d - 1`` coordinates, of mean ``m = (d - 1)(D^2 + s^2)`` and variance
    ``v = (d - 1)(4 D^2 s^2 + 2 s^4)``, independent of the first's score ``z / s``:

    - reparameterised, and central differences, which are exact of squares: ``4 s^2``
    - score: ``D^4/s^2 + 14 D^2 + 15 s^2 + 2 m (D^2 + 3 s^2)/s^2 + (m^2 + v)/s^2``
    - with the best constant, ``D^2 + 3 s^2 + m``: ``8 D^2 + 6 s^2 + v/s^2``
    - leave-one-out in groups of K, the covariance of f and score in a group: ``c - (K-2)/(K-1) 4 D^2 + w/(K-1)``
      with ``c = 12 D^2 + 10 s^2 + v/s^2`` and ``w = 4 D^2 + 2 s^2 + v/s^2``
    - local-linear, which leaves ``sum_i (x_i - mu)^2`` in its place: the score's at ``D = 0``
    - coupled measure-valued: ``16 D^2 (2 - pi/2)/(2 pi)``

    Args:
      method, control_variate: one of ``ESTIMATORS``.
      distance: D. scale: s. dimension: d; arrays that broadcast.
      group: K.

    Raises:
      ValueError: for another pair.

    Source:
      The first two and the last: S. Mohamed, M. Rosca, M. Figurnov, A. Mnih, JMLR 21 (132), 2020, whose figures they
      draw; the rest by the moments of normal numbers up to the sixth.
    """
    square, unit, others = distance**2, scale**2, dimension - 1
    spread = others * (4 * square + 2 * unit)  # v / s^2

    def plain(square):
        mean = others * (square + unit)
        first = square**2 / unit + 14 * square + 15 * unit
        return first + (2 * mean * (square + 3 * unit) + mean**2) / unit + others * (4 * square + 2 * unit)

    match method, control_variate:
        case (("reparameterised" | "finite-difference"), "none"):
            found = 4 * unit
        case "score", "none":
            found = plain(square)
        case "score", "constant":
            found = 8 * square + 6 * unit + spread
        case "score", "leave-one-out":
            own = 12 * square + 10 * unit + spread
            rest = 4 * square + 2 * unit + spread
            found = own - 4 * square * (group - 2) / (group - 1) + rest / (group - 1)
        case "score", "local-linear":
            found = plain(0 * square)
        case "measure-valued", "none":
            found = 16 * square * (2 - np.pi / 2) / (2 * np.pi)
        case _:
            raise ValueError(
                f"gradient_variance: no closed form for {method!r} with {control_variate!r}; there is one for "
                f"{', '.join(map(str, ESTIMATORS))}."
            )
    return found + 0 * (distance + scale + dimension)


def score_variance(
    probabilities: Any, values: Any, scores: Any, control_variate: str = "none", *, group: int = 16
) -> Any:
    """The summed variance of one draw of the score estimator, of a distribution over finitely many outcomes.

    With g the gradient ``E[f s]``: ``E[(f - b)^2 |s|^2] - |g|^2``, b being 0 or the best constant
    ``E[f |s|^2]/E[|s|^2]``; leave-one-out in groups of K is the covariance of f and s in a group, of the variance
    ``c - |g|^2 (K-2)/(K-1) + Var[f] E[|s|^2]/(K-1)`` with ``c = E[(f - E f)^2 |s|^2]``.

    Args:
      probabilities: shape ``(n,)``, summing to one. values: f, shape ``(n,)``.
      scores: derivatives of the log-probabilities, shape ``(n, p)``.
      control_variate: ``"none"``, ``"constant"`` or ``"leave-one-out"``.
      group: K.

    Returns:
      A scalar: the sum over the p entries.

    Raises:
      ValueError: for another control variate.
    """
    mean = lambda of: probabilities @ of
    size = (scores**2).sum(-1)
    gradient = ((probabilities * values) @ scores) ** 2
    match control_variate:
        case "none":
            return mean(values**2 * size) - gradient.sum()
        case "constant":
            best = mean(values * size) / mean(size)
            return mean((values - best) ** 2 * size) - gradient.sum()
        case "leave-one-out":
            centred = values - mean(values)
            own = mean(centred**2 * size) - gradient.sum() * (group - 2) / (group - 1)
            return own + mean(centred**2) * mean(size) / (group - 1)
        case _:
            raise ValueError(
                f"score_variance: control_variate must be none, constant or leave-one-out, got {control_variate!r}."
            )

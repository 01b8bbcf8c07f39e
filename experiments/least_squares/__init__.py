"""When does least squares' closed form pay, and which one keeps its digits?

The normal equations on worked data, the rank of one house among it (``examples``); the error of four closed forms
against the condition number, with and without a residual (``conditioning``); what they cost beside gradient descent
in the number of samples and of weights, counted and timed, with the crossing (``cost``); and what units do to all of
them (``scaling``).
"""

import numpy as np

from jaxcalc.lab import NotJudged

LOOKS = {"normal": {"label": "normal equations"}, "inverse": {"label": "inverse of $X'X$"}}


def fitted_power(x: np.ndarray, y: np.ndarray) -> float:
    """The exponent of the best fit ``y ~ x^p``, which two points determine."""
    if x.size < 2:
        raise NotJudged("an exponent takes two points")
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])

"""What do learning-rate schedules look like, and what do they do for descent with noisy gradients?

Every schedule against its closed form (``curves``); the loss that noise leaves under each, against the exact mean
(``noise``).
"""

from typing import Literal

from jaxcalc import style

Name = Literal["constant", "step-decay", "exponential-decay", "cosine", "linear-warmup", "warmup-cosine"]
NAMES: tuple[Name, ...] = (
    "constant",
    "step-decay",
    "exponential-decay",
    "cosine",
    "linear-warmup",
    "warmup-cosine",
)


def looks():
    """A schedule's colour and marker, the same in every figure."""
    return dict(zip(NAMES, style.looks(NAMES)))

"""What do momentum, Nesterov, Adam and AdamW add to gradient descent?

The numbers of textbook examples (``worked``); what bad conditioning costs each method, along the axes and turned
(``conditioning``); ways down real and artificial valleys, each method at its best rate (``paths``); gradients over
mini-batches as estimates (``estimates``); classifiers of handwritten digits, trained and held out (``digits``).
"""

from typing import Literal

Method = Literal["gradient-descent", "sgd", "momentum", "nesterov", "adam", "adamw", "l-bfgs", "trust-region"]


def solver_named(method, rate, weight_decay=0.0):
    """The method of that name; quasi-Newton methods and trust regions choose their steps themselves."""
    from jaxcalc import solvers

    match method:
        case "gradient-descent":
            return solvers.gradient_descent(rate)
        case "adamw":
            return solvers.adamw(rate, weight_decay=weight_decay)
        case "l-bfgs":
            return solvers.lbfgs()
        case "trust-region":
            return solvers.trust_region()
        case "sgd" | "momentum" | "nesterov" | "adam":
            return getattr(solvers, method)(rate)

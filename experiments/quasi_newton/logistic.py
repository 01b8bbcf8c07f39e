"""How many steps does L-BFGS save on badly scaled logistic regression?"""

import numpy as np
import pydantic

from jaxcalc import lab
from jaxcalc.lab import Finding, Variable, below, holds, jax, jnp, less

kind = "host"


class Config(lab.Config):
    samples: int = pydantic.Field(400, ge=50)
    """rows"""
    features: int = pydantic.Field(20, ge=2)
    """columns, with scales spread evenly from 1 to 10"""
    tolerance: float = pydantic.Field(1e-6, gt=0)
    """the gradient's largest entry that ends the count"""
    max_steps: int = pydantic.Field(100_000, ge=1)
    """of gradient descent"""


VARIABLES = {
    "method": Variable(("method",), "", "solver"),
    "iterations": Variable(("method",), "", "steps until the gradient is small"),
    "evaluations": Variable(("method",), "", "gradients evaluated"),
    "gradient": Variable(("method",), "", "largest entry of the gradient at the end"),
    "excess": Variable(("method",), "", "value at the end above the minimum"),
    "converged": Variable(("method",), "", "whether the gradient became small"),
}


def run(config, key):
    from jaxcalc import minimize
    from jaxcalc.functions.problems import logistic_regression
    from jaxcalc.solvers import gradient_descent, lbfgs

    keys = jax.random.split(key, 3)
    design = jax.random.normal(keys[0], (config.samples, config.features)) * jnp.linspace(1.0, 10.0, config.features)
    weights = jax.random.normal(keys[1], (config.features,)) / jnp.linspace(1.0, 10.0, config.features)
    chance = jax.nn.sigmoid(design @ weights)
    labels = jax.random.uniform(keys[2], (config.samples,)) < chance
    problem = logistic_regression("badly scaled", np.asarray(design), np.asarray(labels, float), l2=1e-6)
    assert problem.smoothness is not None
    rate = 1.0 / problem.smoothness
    stop = {"tol": config.tolerance, "max_steps": config.max_steps}
    solvers = {"l-bfgs": lbfgs(), "gradient-descent": gradient_descent(rate)}
    found = [minimize(problem.function, problem.start, method=solver, **stop) for solver in solvers.values()]
    return {
        "method": np.array(list(solvers)),
        "iterations": np.array([int(one.num_steps) for one in found]),
        "evaluations": np.array([int(one.evaluations.gradients) for one in found]),
        "gradient": np.array([float(one.kkt_residual) for one in found]),
        "excess": np.array([float(one.value) for one in found]) - problem.minimum,
        "converged": np.array([bool(one.success) for one in found]),
    }


def _works(dataset):
    fast, slow = (dataset.sel({"method": m}) for m in ("l-bfgs", "gradient-descent"))
    told = "" if bool(slow.converged) else ", not yet there"
    return Finding(
        holds(fast.converged)
        & below(fast.gradient, 1e-6)
        & less(fast.iterations, slow.iterations / 5)
        & below(fast.iterations, fast.evaluations),
        measured=f"L-BFGS {float(fast.iterations):g} iterations ({float(fast.evaluations):g} evaluations, gradient "
        f"{float(fast.gradient):.0e}); gradient descent at 1/L {float(slow.iterations):g}{told}",
    )


claims = {"lbfgs-works-on-logistic-regression": _works}

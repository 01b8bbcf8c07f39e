"""Gradient descent on real data: which learning rates converge, how fast, and what conditioning costs."""

from typing import Literal

import numpy as np
import pydantic

from jaxcalc import lab


class ProblemConfig(lab.Config):
    problem: Literal["house-sizes", "house-all", "breast-cancer", "quadratic"] = "house-sizes"
    """house price from lot size and bedrooms, or from all 11 features; tumours by logistic regression; a quadratic"""
    scaling: Literal["thousands", "standardized"] = "standardized"
    """units of the houses: thousands of dollars and of square feet without an intercept, or mean 0 and deviation 1"""
    condition_number: float = pydantic.Field(100.0, ge=1)
    """largest over smallest curvature of the quadratic"""
    dimension: int = pydantic.Field(8, ge=1)
    """number of variables of the quadratic"""
    l2: float = pydantic.Field(0.01, gt=0)
    """ridge of the logistic regression"""


def build_problem(config):
    """The problem that a config names."""
    from jaxcalc.functions import problems

    match config.problem:
        case "house-sizes":
            return problems.house_prices(("lotsize", "bedrooms"), config.scaling)
        case "house-all":
            return problems.house_prices((), config.scaling)
        case "breast-cancer":
            return problems.breast_cancer(config.l2)
        case _:
            return problems.quadratic(config.condition_number, config.dimension)


def random_start(problem, key):
    """A point as far from the optimum as the customary start, in a direction that the key draws."""
    import jax
    import jax.numpy as jnp

    direction = jax.random.normal(key, (problem.dimension,))
    distance = np.linalg.norm(problem.start - problem.optimum)
    return problem.optimum + distance * direction / jnp.linalg.norm(direction)


def descend(problem, learning_rate, start, num_steps):
    """Gradient descent with the gap and the distance to the optimum recorded."""
    import jax
    import jax.numpy as jnp

    from jaxcalc.solvers import gradient_descent, iterate

    tolerance = 100 * jnp.finfo(start.dtype).eps * jnp.linalg.norm(jax.grad(problem.function)(start))
    return iterate(
        gradient_descent(learning_rate),
        problem.function,
        start,
        num_steps=num_steps,
        tol=tolerance,
        record=lambda at: {"gap": at.value - problem.minimum, "distance": jnp.linalg.norm(at.x - problem.optimum)},
    )


def rounding_floor(problem, start, condition):
    """The distance to the optimum below which no factor is read: eps^(2/3) kappa times the size of the numbers.

    Rounding moves an iterate by about eps kappa times that size, a fraction eps^(1/3) of what is read.
    """
    import jax.numpy as jnp

    size = np.linalg.norm(problem.optimum) + jnp.linalg.norm(start - problem.optimum)
    return float(jnp.finfo(start.dtype).eps) ** (2 / 3) * condition * size


def by_case(dataset, *axes):
    """The dataset over ``case`` and these axes: all problems of a sweep lie along ``case``, with what sets each."""
    data = lab.over(dataset, *axes)
    outer = [dim for dim in data.theory.dims if dim not in axes]
    if not outer:
        data = data.expand_dims(case=[str(data.problem.item())])
    elif outer != ["case"]:
        data = data.stack(point=outer, create_index=False)
        labels = [", ".join(map(str, at)) for at in zip(*(data[dim].values for dim in outer))]
        data = data.drop_vars("case", errors="ignore").rename(point="case").assign_coords(case=labels)
    told = [name for name in ("problem", "l2", "dimension", "tolerance") if name in data.coords]
    along = {name: ("case", np.broadcast_to(data[name].values, data.sizes["case"])) for name in told}
    return data.assign_coords(along).transpose("case", *axes, ...)


def precision(dataset):
    """eps of the numbers that the run computed with."""
    return float(np.finfo(dataset.attrs["dtype"]).eps)

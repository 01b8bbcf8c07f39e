"""Gradient descent on real data: which learning rates converge, how fast, and what conditioning costs."""

from typing import Literal

import numpy as np
import pydantic

from jaxcalc import lab
from jaxcalc.lab import jax, jnp


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


def descend(problem, learning_rate, key, num_steps):
    """Gradient descent with the gap and the distance to the optimum recorded, its start, and a floor.

    The start is as far from the optimum as the customary one, in a direction that the key draws. Below the floor no
    factor is read: eps^(2/3) kappa times the size of the numbers, since rounding moves an iterate by about eps kappa
    times that size, a fraction eps^(1/3) of what is read.
    """
    from jaxcalc.solvers import gradient_descent, iterate

    direction = jax.random.normal(key, (problem.dimension,))
    length = np.linalg.norm(problem.start - problem.optimum)
    start = problem.optimum + length * direction / jnp.linalg.norm(direction)
    eps = jnp.finfo(start.dtype).eps
    result = iterate(
        gradient_descent(learning_rate),
        problem.function,
        start,
        num_steps=num_steps,
        tol=100 * eps * jnp.linalg.norm(jax.grad(problem.function)(start)),
        record=lambda at: {"gap": at.value - problem.minimum, "distance": jnp.linalg.norm(at.x - problem.optimum)},
    )
    curvatures, _ = problem.curvatures()
    size = np.linalg.norm(problem.optimum) + jnp.linalg.norm(start - problem.optimum)
    return result, start, float(eps) ** (2 / 3) * (curvatures[-1] / curvatures[0]) * size


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

"""Does the closed form of least squares hold, and what does one house alone determine?"""

import numpy as np
import pydantic

from jaxcalc import lab
from jaxcalc.lab import Finding, Variable, below, close, equal, jax, jnp

kind = "host"


class Config(lab.Config):
    samples: int = pydantic.Field(50, ge=6)
    """rows of the random design"""
    weights: int = pydantic.Field(5, ge=1)
    """its columns"""


VARIABLES = {
    "gradient_residual": Variable((), "", "jax.grad of the squared loss less 2X'Xw - 2X'y, largest entry"),
    "gradient_at_solution": Variable((), "", "largest entry of the gradient at the normal equations' solution"),
    "distance_to_svd": Variable((), "", "distance of that solution to the SVD's"),
    "rank_of_one": Variable((), "", "rank of X'X with one house"),
    "rank_of_many": Variable((), "", "rank of X'X with 546 houses"),
    "one_by_normal": Variable(("weight",), "", "weights of one house by the normal equations; NaN if singular"),
    "one_by_svd": Variable(("weight",), "", "the same by the pseudo-inverse"),
    "one_nearest": Variable(("weight",), "", "the solution of least norm in closed form"),
    "many_by_normal": Variable(("weight",), "", "weights of 546 houses by the normal equations"),
    "many_by_svd": Variable(("weight",), "", "the same by the pseudo-inverse"),
}


def run(config, key):
    from jaxcalc.functions import datasets, problems
    from jaxcalc.solvers import ordinary_least_squares

    keys = jax.random.split(key, 3)
    design = jax.random.normal(keys[0], (config.samples, config.weights))
    target = jax.random.normal(keys[1], (config.samples,))
    point = jax.random.normal(keys[2], (config.weights,))
    gradient = jax.grad(lambda w: jnp.sum((design @ w - target) ** 2))
    found = ordinary_least_squares(design, target, method="normal")
    reference = np.linalg.lstsq(np.asarray(design), np.asarray(target), rcond=None)[0]

    houses = datasets.houses()
    many = np.column_stack([houses.column("lotsize"), houses.column("bedrooms")])
    one, price = np.array([[1200.0, 3.0]]), np.array([350000.0])
    solve = lambda rows, y, method: np.asarray(
        jax.jit(ordinary_least_squares, static_argnames="method")(rows, y, method=method)
    )
    return {
        "gradient_residual": abs(gradient(point) - (2 * design.T @ (design @ point) - 2 * design.T @ target)).max(),
        "gradient_at_solution": abs(gradient(found)).max(),
        "distance_to_svd": np.linalg.norm(np.asarray(found) - reference),
        "rank_of_one": np.linalg.matrix_rank(one.T @ one),
        "rank_of_many": np.linalg.matrix_rank(many.T @ many),
        "one_by_normal": solve(one, price, "normal"),
        "one_by_svd": solve(one, price, "svd"),
        "one_nearest": problems.one_house().optimum,
        "many_by_normal": solve(many, houses.price, "normal"),
        "many_by_svd": solve(many, houses.price, "svd"),
    }


def _normal_equation(dataset):
    gaps = [float(dataset[name]) for name in ("gradient_residual", "gradient_at_solution", "distance_to_svd")]
    return Finding(
        below(gaps),
        measured=f"gradients part by {gaps[0]:.1g}, {gaps[1]:.1g} at the solution, {gaps[2]:.1g} from the SVD's",
    )


def _mended(dataset):
    near = lambda found, target: close(dataset[found], dataset[target], relative=True)
    return near("one_by_svd", "one_nearest") & equal(dataset.rank_of_many, 2) & near("many_by_normal", "many_by_svd")


claims = {
    "ols-normal-equation": _normal_equation,
    "ols-on-the-running-example": lambda dataset: close({"rank": dataset.rank_of_one}),
    "running-example-by-pseudo-inverse-or-more-houses": _mended,
}

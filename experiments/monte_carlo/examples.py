"""What do the curse of dimension and policy gradients come to, in numbers?"""

import numpy as np
import pydantic

from jaxcalc import lab
from jaxcalc.lab import Finding, NotJudged, Variable, between, close, equal, jax, jnp, less

kind = "host"


class Config(lab.Config):
    grids: tuple[int, ...] = (1, 2, 3, 4, 5, 6)
    """dimensions in which a grid of 10 points per axis is built"""
    dimensions: tuple[int, ...] = (1, 10, 100, 1000)
    """dimensions in which a thousand points are drawn"""
    draws: int = pydantic.Field(400_000, ge=1000)
    """actions that the policy takes"""
    logits: tuple[float, ...] = (0.2, -0.1, 0.4)
    """of the softmax policy, one for each arm of the bandit"""
    rewards: tuple[float, ...] = (1.0, 2.0, 3.0)
    """of the arms"""


VARIABLES = {
    "grid_dimension": Variable(("grid_dimension",), "", "dimension of a product grid of 10 points per axis"),
    "grid_points": Variable(("grid_dimension",), "", "its points"),
    "dimension": Variable(("dimension",), "", "dimension of the cube that 1,000 points are drawn from"),
    "standard_error": Variable(("dimension",), "", "standard error of a mean of variance one over them"),
    "estimator": Variable(("estimator",), "", "of the policy gradient"),
    "gradient": Variable(("estimator", "arm"), "", "average over actions of reward times score"),
    "gradient_error": Variable(("estimator", "arm"), "", "its standard error"),
    "exact_gradient": Variable(("arm",), "", "gradient of the expected reward"),
}


def run(config, key):
    from jaxcalc.functions.quadrature import quadrature_rule
    from jaxcalc.transforms.sampling import monte_carlo, sample_mean

    axis = quadrature_rule("trapezoid", 10).nodes
    grids = [np.broadcast_shapes(*(part.shape for part in np.ix_(*[axis] * d))) for d in config.grids]
    drawn, acted = jax.random.split(key)
    told = []
    for d in config.dimensions:
        fun = lambda x, d=d: (x - 0.5).sum() * np.sqrt(12 / d)  # of variance one
        found = monte_carlo(fun, num_samples=1000, chunk_size=250)(drawn, jnp.zeros(d), jnp.ones(d))
        told.append(float(found.standard_error))
    logits, rewards = jnp.array(config.logits), jnp.array(config.rewards)
    expected_reward = lambda logits: jax.nn.softmax(logits) @ rewards
    score = lambda action: jax.grad(lambda logits: jax.nn.log_softmax(logits)[action])(logits)
    # With and without the mean reward taken off, from the same actions.
    terms = lambda action: score(action) * jnp.array([[rewards[action]], [rewards[action] - expected_reward(logits)]])
    act = lambda key: terms(jax.random.categorical(key, logits))
    policy = jax.jit(sample_mean(act, num_samples=config.draws))(acted)
    return {
        "grid_dimension": np.array(config.grids),
        "grid_points": np.array([int(np.prod(shape)) for shape in grids]),
        "dimension": np.array(config.dimensions),
        "standard_error": np.array(told),
        "estimator": np.array(["plain", "mean reward taken off"]),
        "gradient": policy.value,
        "gradient_error": policy.standard_error,
        "exact_gradient": jax.jit(jax.grad(expected_reward))(logits),
    }


def _curse(dataset):
    points, told, d = (dataset[name].values for name in ("grid_points", "standard_error", "grid_dimension"))
    if points.size < 3:
        raise NotJudged("it takes three grids or more")
    errors = ", ".join(f"{error:.4f} (d = {int(k)})" for k, error in zip(dataset.dimension.values, told))
    return Finding(
        equal(points, 10.0**d),
        # A standard error of 1,000 draws is known to 2 %, its largest of four to 6 %.
        limits=less(0.0, told) & between(told / told[0], 0.9, 1.1),
        measured=f"{points[0]:g} to {points[-1]:g} points, {points[-1] ** (1 / d[-1]):.6g} per axis; standard errors "
        f"of 1,000 draws {errors}",
    )


def _policy(dataset):
    bias = abs(dataset.gradient - dataset.exact_gradient).values
    spread = (dataset.gradient_error**2).sum("arm", skipna=False).values
    return Finding(
        close({"bias": bias.max()}) & less(spread[1], spread[0]),
        measured=f"bias {bias.max():.2g}; with the mean reward taken off, {spread[0] / spread[1]:.3g} times less "
        "variance",
    )


claims = {"curse-of-dimensionality": _curse, "policy-gradient-is-monte-carlo": _policy}

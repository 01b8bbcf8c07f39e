"""How near does a continuous normalizing flow come to a density of which it sees samples alone?

The density is known in closed form, so that what is missing is measured in nats, beside a fitted normal distribution.
"""

from typing import Literal

import numpy as np
import pydantic

from jaxcalc import lab, style
from jaxcalc.lab import Finding, Variable, above, first, jax, jnp, less, over

kind = "compiled"
dtype = "float32"
_EDGE = 4.0  # of the square that is drawn
_SHOWN = 1500  # samples in the figure
_PATHS = 48  # trajectories in the figure


class Config(lab.Config):
    """A perceptron as the field, fitted by maximum likelihood."""

    density: Literal["moons", "pinwheel", "ring", "banana"] = "moons"
    """the density that samples are drawn from"""
    hidden: int = pydantic.Field(default=32, gt=0)
    """width of the perceptron's two hidden layers"""
    train_steps: int = pydantic.Field(default=700, gt=0)
    """steps of Adam"""
    learning_rate: float = pydantic.Field(default=0.01, gt=0)
    """Adam's rate, which falls to 0 along a cosine"""
    batch: int = pydantic.Field(default=256, gt=0)
    """new samples in each step"""
    num_steps: int = pydantic.Field(default=8, gt=0)
    """steps of the midpoint rule while training"""
    test_samples: int = pydantic.Field(default=8192, ge=2)
    """new samples on which the divergence is measured"""


VARIABLES = {
    "iteration": Variable(("iteration",), "", "step of Adam"),
    "loss": Variable(("iteration",), "nat", "mean negative log-likelihood of a batch"),
    "entropy": Variable((), "nat", "entropy of the true density, by its test samples"),
    "divergence": Variable((), "nat", "Kullback-Leibler divergence of the learned density from the true one"),
    "divergence_error": Variable((), "nat", "its standard error over test samples"),
    "normal_divergence": Variable((), "nat", "the same of the normal distribution with the samples' moments"),
    "mass": Variable((), "", "integral of the learned density over the square that is drawn"),
    "grid": Variable(("grid",), "", "either coordinate of the points at which densities are drawn"),
    "learned": Variable(("row", "column"), "", "learned density"),
    "truth": Variable(("row", "column"), "", "true density"),
    "data": Variable(("sample", "component"), "", "samples of the true density"),
    "path": Variable(("time", "trajectory", "component"), "", "states along the learned flow, from base to data"),
}


def run(config, key):
    """Draw a field, fit it, then hold its density against the true one."""
    from jaxcalc import models
    from jaxcalc.functions.planar_densities import planar_density

    density = planar_density(config.density)
    field = models.mlp_field(2, config.hidden)
    init_key, train_key, test_key, path_key = jax.random.split(key, 4)
    coarse = models.normalizing_flow(field, 2, solver="midpoint", num_steps=config.num_steps)
    params, losses = _train(config, coarse, density, field.init(init_key), train_key)
    # What is learned is the field, whose exact flow has a density of mass 1; training's coarse steps have only about.
    flow = models.normalizing_flow(field, 2, solver="rk4", num_steps=4 * config.num_steps)

    points = density.sample(test_key, config.test_samples)
    axis = jnp.linspace(-_EDGE, _EDGE, 121)
    grid = jnp.stack(jnp.meshgrid(axis, axis), axis=-1)
    log_learned = flow.log_density(params, jnp.concatenate([points, grid.reshape(-1, 2)]))
    learned = jnp.exp(log_learned[len(points) :]).reshape(grid.shape[:2])
    log_true = density.log_density(points)
    gap = log_true - log_learned[: len(points)]
    starts = jax.random.normal(path_key, (_PATHS, 2), float)
    paths = models.neural_ode(field, solver="rk4", num_steps=1).apply(params, starts, jnp.linspace(0.0, 1.0, 33))
    return {
        "iteration": jnp.arange(config.train_steps),
        "loss": losses,
        "entropy": -jnp.mean(log_true),
        "divergence": jnp.mean(gap),
        "divergence_error": jnp.std(gap, ddof=1) / jnp.sqrt(len(points)),
        "normal_divergence": jnp.mean(log_true) + _entropy_of_normal(points),
        "mass": jnp.sum(learned) * (axis[1] - axis[0]) ** 2,
        "grid": axis,
        "learned": learned,
        "truth": jnp.exp(density.log_density(grid)),
        "data": points[:_SHOWN],
        "path": paths,
    }


def _train(config, flow, density, params, key):
    """Adam on the likelihood of new samples in each step."""
    import optax

    rate = optax.cosine_decay_schedule(config.learning_rate, config.train_steps)
    optimiser = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(rate))

    def step(carry, key):
        params, state = carry
        points = density.sample(key, config.batch)
        loss, gradient = jax.value_and_grad(lambda params: -jnp.mean(flow.log_density(params, points)))(params)
        updates, state = optimiser.update(gradient, state)
        return (optax.apply_updates(params, updates), state), loss

    keys = jax.random.split(key, config.train_steps)
    (params, _), losses = jax.lax.scan(step, (params, optimiser.init(params)), keys)
    return params, losses


def _entropy_of_normal(points):
    """The cross-entropy of points under the normal distribution with their mean and covariance: its entropy."""
    from jaxcalc.functions.distributions import multivariate_normal

    return multivariate_normal(points.mean(0), jnp.cov(points.T)).entropy()


def _by_density(dataset):
    """The dataset over densities, other axes of the sweep at their first."""
    own = {name for variable in VARIABLES.values() for name in variable.dims}
    return first(over(dataset, "density"), "density", *own)


def figures(dataset):
    """Data, learned density and learned flow of each density."""
    data = _by_density(dataset)
    names = data.density.values.tolist()
    figure, axes = style.subplots(
        len(names), 3, width="page", height=2.35 * len(names) + 0.2, squeeze=False, letters=False
    )
    for row, name in zip(axes, names, strict=True):
        _draw(row, data.sel(density=name))
        row[0].set_ylabel(name, fontsize=8.5, fontweight="bold")
    for ax, title in zip(axes[0], ("samples", "learned density", "learned flow"), strict=True):
        ax.set_title(title)
    figure.set_label(
        "Samples; the density learned from such samples (lines: levels of the true one at 5, 25 and 75 % of its "
        "height), with its divergence from the true density; trajectories of standard normal points (grey) to where "
        "the flow carries them (blue)."
    )
    return {"densities": figure, "training": _draw_training(data)}


def _draw(row, one):
    """The three panels of a density."""
    left, middle, right = row
    left.plot(*one.data.values.T, ".", color="#222222", markersize=1.6, rasterized=True)
    extent = (-_EDGE, _EDGE, -_EDGE, _EDGE)
    middle.imshow(one.learned.values, origin="lower", extent=extent, vmin=0, vmax=float(one.truth.max()))
    levels = float(one.truth.max()) * np.array([0.05, 0.25, 0.75])
    middle.contour(one.grid, one.grid, one.truth, levels, colors="white", linewidths=0.5)
    words = f"{float(one.divergence):.3f} ± {float(one.divergence_error):.3f} nat"
    middle.annotate(words, (0.97, 0.04), xycoords="axes fraction", ha="right", color="white", fontsize=7.5)
    path = one.path.values
    right.plot(path[:, :, 0], path[:, :, 1], color="#B8B8B8", linewidth=0.6)
    right.plot(*path[0].T, "o", color="#999999", markersize=2.4)
    right.plot(*path[-1].T, "o", color=style.COLORS["blue"], markersize=2.8)
    for ax in row:
        ax.set(xlim=extent[:2], ylim=extent[2:], aspect="equal", xticks=(-3, 0, 3), yticks=(-3, 0, 3))
        ax.grid(visible=False)


def _draw_training(data):
    """The loss above the true density's entropy, smoothed: batches scatter about it, above and below."""
    excess = (data.loss - data.entropy).rolling(iteration=50, min_periods=10).mean()
    figure, panels = style.chart(excess, "iteration", hue="density", log="y", marker="", legend="above")
    panels[0, 0].set(xlabel="step of Adam", ylabel="likelihood short of the truth, nat", ylim=(5e-3, 3))
    figure.set_label("Negative log-likelihood of batches above the true density's entropy, means of 50 steps.")
    return figure


def tables(dataset):
    """Divergences beside the entropy and the normal distribution's."""
    data = _by_density(dataset)
    columns = {
        "entropy, nat": data.entropy,
        "divergence, nat": data.divergence,
        "standard error": data.divergence_error,
        "of a fitted normal": data.normal_divergence,
        "mass in the square": data.mass,
    }
    return {"Kullback-Leibler divergence": lab.rows("density", columns)}


def _nearer_than_normal(dataset):
    """Gibbs' inequality, which no right density breaks, and most of what a normal distribution misses."""
    gap, error, normal = (dataset[name] for name in ("divergence", "divergence_error", "normal_divergence"))
    share = gap / normal
    return Finding(
        above(gap + 3 * error, 0.0) & less(share, 0.25) & less(0.0, error) & above(1.001 - dataset.mass, 0.0),
        measured=f"{float(gap.min()):.3f} to {float(gap.max()):.3f} nat, at most {100 * float(share.max()):.0f} % of "
        "the fitted normal's",
        figure="densities",
    )


claims = {"flow-learns-the-density": _nearer_than_normal}

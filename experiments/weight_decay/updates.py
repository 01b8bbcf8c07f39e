"""For which methods are an L2 penalty and decoupled decay the same update?"""

import numpy as np
import pydantic

from jaxcalc import lab, style
from jaxcalc.lab import Finding, Variable, below, close, jax, jnp, xarray

kind = "host"

_METHODS = ("sgd", "momentum", "adam")


class Config(lab.Config):
    num_steps: int = pydantic.Field(100, ge=100)
    """steps of every update"""
    rate: float = pydantic.Field(0.05, gt=0)
    """learning rate"""
    decay: float = pydantic.Field(0.1, gt=0)
    """strength of penalty and decay"""
    samples: int = pydantic.Field(40, ge=10)
    """rows of the regression"""


VARIABLES = {
    "residual": Variable((), "", "gradient of the penalised loss less gradient plus decay times weight, at most"),
    "method": Variable(("method",), "", "method of minimisation"),
    "penalty": Variable(("method", "step", "coordinate"), "", "weights with the penalty in the loss"),
    "decoupled": Variable(("method", "step", "coordinate"), "", "weights with decoupled decay"),
    "shrunk": Variable(("step", "coordinate"), "", "weights shrunk, then moved along the gradient"),
    "remaining": Variable(("solver",), "", "what is left of a weight of 1 without a loss: plain descent, AdamW"),
    "factor": Variable(("factor",), "", "learning rate times decay"),
    "remaining_by_factor": Variable(("factor", "alone"), "", "what is left of a weight after every step"),
}


def run(config, key):
    found = jax.jit(lambda key: _compared(config, key))(key)
    return {"method": np.array(_METHODS), **{name: np.asarray(value) for name, value in found.items()}}


def _compared(config, key):
    from jaxcalc import solvers
    from jaxcalc.solvers import adamw, iterate, sgd

    dimension, rate, decay = 6, config.rate, config.decay
    keys = jax.random.split(key, 5)
    design = jax.random.normal(keys[0], (config.samples, dimension))
    target = design @ (4 * jax.random.normal(keys[1], (dimension,))) + jax.random.normal(keys[2], (config.samples,))
    loss = lambda w: jnp.mean((design @ w - target) ** 2) / 2
    penalised = lambda w: loss(w) + decay / 2 * (w @ w)
    start = jax.random.normal(keys[3], (dimension,))
    way = lambda solver, fun: iterate(solver, fun, start, num_steps=config.num_steps, record=lambda at: at.x).history

    def shrink(w, _):
        w = (1 - rate * decay) * w - rate * jax.grad(loss)(w)
        return w, w

    methods = [getattr(solvers, name) for name in _METHODS]
    points = jax.random.normal(keys[4], (100, dimension))
    by_hand = jax.vmap(lambda w: jax.grad(loss)(w) + decay * w)(points)
    # Without a loss the decay acts alone; its factor is tried on both sides of 1 and 2.
    factors = jnp.array([0.001, 0.1, 0.5, 0.9, 1.1, 1.5, 1.9, 2.1])
    flat = lambda w: 0.0 * w[0]
    alone = lambda solver: iterate(solver, flat, jnp.ones(1), num_steps=100, record=lambda at: at.x[0]).history
    return {
        "residual": jnp.abs(jax.vmap(jax.grad(penalised))(points) - by_hand).max(),
        "penalty": jnp.stack([way(method(rate), penalised) for method in methods]),
        "decoupled": jnp.stack([way(method(rate, weight_decay=decay), loss) for method in methods]),
        "shrunk": jnp.concatenate([start[None], jax.lax.scan(shrink, start, length=config.num_steps)[1]]),
        "remaining": jnp.stack([alone(sgd(0.1, weight_decay=0.01))[-1], alone(adamw(0.1, weight_decay=0.01))[-1]]),
        "factor": factors,
        "remaining_by_factor": jax.vmap(lambda factor: alone(sgd(factor, weight_decay=1.0)))(factors),
    }


def _pairs(dataset, name):
    """The weights by penalty less those by decoupled decay."""
    mine = dataset.sel({"method": name})
    return abs(mine.penalty - mine.decoupled).values


def _equal_for_sgd(dataset):
    by_hand = abs(dataset.shrunk - dataset.penalty.sel({"method": "sgd"})).values
    apart = [by_hand, _pairs(dataset, "sgd")]
    return Finding(
        below(apart),
        measured=f"weights differ by up to {max(each.max() for each in apart):.1e}; with momentum 0.9 by "
        f"{_pairs(dataset, 'momentum').max():.2g}",
        figure="updates",
    )


def _different_for_adam(dataset):
    apart = _pairs(dataset, "adam")
    end = dataset.sel({"method": "adam"}).isel(step=-1)
    norms = [np.linalg.norm(weights) for weights in (end.penalty, end.decoupled)]
    told = f"weights differ by up to {apart.max():.3g}; norms at the end {norms[0]:.3f} and {norms[1]:.3f}"
    return Finding(~below(apart), measured=told, figure="updates")


def _factor(dataset):
    remaining = dataset.remaining.values
    return Finding(
        close(remaining),
        measured=f"{remaining[0]:.9f} (plain) and {remaining[1]:.9f} (AdamW) of the start remain",
        figure="factor",
    )


def figures(dataset):
    numbers = {name: (name, np.arange(dataset.sizes[name]), {"long_name": "steps"}) for name in ("step", "alone")}
    dataset = dataset.assign_coords(numbers)
    apart = abs(dataset.penalty - dataset.decoupled).max("coordinate").isel(step=slice(1, None))
    figure, _ = style.chart(
        apart,
        "step",
        hue="method",
        log="y",
        ylabel="penalty against decay: largest difference of a weight",
        ylim=(3e-18, 30),
        width=4.4,
        height=2.9,
    )
    figure.set_label(
        "The weights under an L2 penalty in the loss less those under decoupled decay: rounding for plain descent, a "
        "different way for momentum and Adam. Differences of exactly 0 are hollow triangles."
    )
    steps = [1, 10, 100]
    fine = xarray.DataArray(np.linspace(0, 2.15, 432), dims="factor")
    fine = fine.assign_coords(factor=fine)
    exact = abs(1 - fine) ** dataset.alone.sel(alone=steps)
    other, panels = style.chart(
        abs(dataset.remaining_by_factor.sel(alone=steps)),
        "factor",
        hue="alone",
        theory=exact.where(exact > 0),
        log="y",
        linestyle="",
        xlabel=r"learning rate × decay,  $\eta\lambda$",
        ylabel="what is left of a weight",
        ylim=(1e-13, 1e6),
        width=4.4,
        height=2.9,
    )
    axis = panels[0, 0]
    for edge in (1.0, 2.0):
        axis.axvline(edge, color=style.COLORS["grey"], linewidth=0.8)
    axis.annotate("sign flips", (1.5, 1e3), ha="center", fontsize=7.5)
    axis.annotate("shrinks", (0.5, 1e3), ha="center", fontsize=7.5)
    other.set_label(
        "Decay alone, without a loss: it shrinks the weight below 1, flips its sign at every step above, and lets it "
        r"grow from 2 on. By steps k; dashed: $|1-\eta\lambda|^k$."
    )
    return {"updates": figure, "factor": other}


claims = {
    "l2-penalty-gradient": lambda dataset: below(dataset.residual),
    "l2-equals-weight-decay-for-sgd": _equal_for_sgd,
    "l2-differs-from-decay-for-adam": _different_for_adam,
    "weight-decay-factor": _factor,
}

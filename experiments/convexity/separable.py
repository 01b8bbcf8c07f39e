"""Does gradient descent find the bottom of a convex loss that has none?"""

import numpy as np
import pydantic

from jaxcalc import lab, style
from jaxcalc.lab import Finding, Variable, below, jax, jnp, less

kind = "host"

_DATA = ("separable", "overlapping")


class Config(lab.Config):
    samples: int = pydantic.Field(40, ge=10)
    """points in the plane"""
    decades: int = pydantic.Field(5, ge=3)
    """descent takes 10^decades steps"""
    rate: float = pydantic.Field(1.0, gt=0, lt=2)
    """learning rate times L, the bound on the curvature; 2 is the limit of stability"""


VARIABLES = {
    "step": Variable(("step",), "", "gradient step"),
    "data": Variable(("data",), "", "labels that a line separates, or that overlap"),
    "norm": Variable(("data", "step"), "", "norm of the weights"),
    "loss": Variable(("data", "step"), "", "mean logistic loss"),
    "gradient": Variable(("data", "step"), "", "norm of its gradient"),
    "steep": Variable(("bowl_step",), "", "x^2/2 under gradient descent at 2.1 over the curvature"),
}


def run(config, key):
    from jaxcalc.solvers import gradient_descent, iterate

    keys = jax.random.split(key, 2)
    label = jnp.where(jnp.arange(config.samples) % 2 == 0, 1.0, -1.0)
    cloud = jax.random.normal(keys[0], (config.samples, 2))
    # Along the first axis the labels part by a gap; flipping one label in five makes them overlap.
    along = label * (0.5 + abs(cloud[:, 0]))
    design = jnp.stack([along, cloud[:, 1]], -1)
    flipped = jnp.where(jnp.arange(config.samples) % 5 == 0, -label, label)
    num_steps = 10**config.decades
    kept = np.unique(np.geomspace(1, num_steps, 20 * config.decades).astype(int))

    def descend(signs):
        loss = lambda w: jnp.mean(jnp.logaddexp(0.0, -signs * (design @ w)))
        largest = jnp.linalg.eigvalsh(design.T @ design / config.samples)[-1] / 4
        solver = gradient_descent(config.rate / largest)
        record = lambda at: {"norm": jnp.linalg.norm(at.x), "loss": at.value, "gradient": jnp.linalg.norm(at.gradient)}
        history = iterate(solver, loss, jnp.zeros(2), num_steps=num_steps, record=record).history
        return jax.tree.map(lambda row: row[kept], history)

    # Also beyond the limit of stability, where even a loss with a minimum is not brought down to it.
    found = jax.jit(jax.vmap(descend))(jnp.stack([label, flipped]))
    steep = jax.jit(lambda: _bowl_at(2.1))()
    return {"step": kept, "data": np.array(_DATA), **found, "steep": steep}


def _bowl_at(rate):
    """Values of x^2 / 2 under gradient descent at a rate in units of the inverse curvature."""
    from jaxcalc.solvers import gradient_descent, iterate

    bowl = lambda x: jnp.sum(x**2) / 2
    return iterate(gradient_descent(rate), bowl, jnp.ones(1), num_steps=100).history["value"]


def _bottom(dataset):
    at = lambda data, name, step: float(dataset[name].sel(data=data).sel(step=step, method="nearest"))
    last = int(dataset.step[-1])
    settled = abs(at("overlapping", "norm", last) / at("overlapping", "norm", last // 10) - 1)
    growth, losses = (
        np.array([at("separable", name, 10**k) for k in range(2, len(str(last)))]) for name in ("norm", "loss")
    )
    flat, steep = at("overlapping", "gradient", last), dataset.steep.values
    return Finding(
        below(settled, 1e-6) & below(flat, 1e-8),
        limits=less(0.1, np.diff(growth))
        & less(losses[1:], losses[:-1])
        & less(0.0, losses)
        & less(steep[0], steep[-1]),
        measured=f"overlapping labels: gradient {flat:.1g}; separable: |w| "
        + ", ".join(f"{v:.2f}" for v in growth)
        + " at 1e2, 1e3, ... steps, losses "
        + ", ".join(f"{v:.0e}" for v in losses),
        note=f"Nor with a learning rate above 2/L: at 2.1/L the value of x²/2 is {steep[-1]:.1e} after "
        f"{steep.size - 1} steps.",
    )


def figures(dataset):
    figure, (left, right) = style.subplots(1, 2, width="page", height=2.6)
    late = dataset.norm.sel(data="separable").isel(step=slice(-40, None))
    slope = float(np.polyfit(np.log(late.step), late, 1)[0])
    line = late[-1] + slope * np.log(dataset.step / late.step[-1])
    looks = {name: {"color": style.COLORS[color], "marker": ""} for name, color in zip(_DATA, ("vermilion", "blue"))}
    common = {"hue": "data", "looks": looks, "xlabel": "step t", "legend": None}
    theory = line.assign_coords(step=dataset.step).where(dataset.step > 30)
    style.chart(dataset.norm, "step", axes=left, log="x", ylabel="norm of the weights", theory=theory, **common)
    common["legend"] = "lower left"
    style.chart(dataset.loss, "step", axes=right, log="xy", ylabel="mean logistic loss", **common)
    left.annotate(f"{slope:.2f} log t", (0.62, 0.6), xycoords="axes fraction", fontsize=7.5, ha="right")
    figure.set_label(
        "Gradient descent on logistic regression in the plane: where labels overlap the weights settle, where a line "
        "separates them the loss has no minimum and the weights grow with the logarithm of time."
    )
    return {"norms": figure}


claims = {"gd-finds-the-bottom-of-convex": _bottom}

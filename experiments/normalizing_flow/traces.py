"""Is the integral of the trace the log-determinant of the flow, and what do estimates of it cost?

Probes are fixed along a solve, so that an estimate's variance has a closed form: that of the integrated Jacobian.
"""

import numpy as np
import pydantic

from jaxcalc import lab, style
from jaxcalc.lab import Finding, NotJudged, Variable, below, between, first, jax, jnp, less, params

kind = "compiled"
ESTIMATORS = ("random signs", "normal probes", "Hutch++")
_ESTIMATED = ("estimator", "field", "product_count")
FIELDS = ("all directions", "few directions")
_LOOKS = {
    # Open, so that it is seen beneath normal probes, which are nearly as good.
    "random signs": {
        "color": style.COLORS["blue"],
        "marker": "o",
        "markersize": 8,
        "markerfacecolor": "none",
        "markeredgewidth": 1.0,
    },
    "normal probes": {"color": style.COLORS["vermilion"], "marker": "s"},
    "Hutch++": {"color": style.COLORS["green"], "marker": "^"},
}


class Config(lab.Config):
    """A perceptron of three states, refined; and two of many, with traces by random probes."""

    dimension: int = pydantic.Field(default=3, gt=0)
    """size of the state whose log-determinant is taken"""
    steps: tuple[int, ...] = pydantic.Field(default=(10, 40, 400), min_length=2)
    """steps of the classical Runge-Kutta method, rising"""
    size: int = pydantic.Field(default=32, gt=0)
    """size of the state whose trace is estimated"""
    rank: int = pydantic.Field(default=4, gt=0)
    """hidden units that few directions have; all directions have as many as there are states"""
    products: tuple[int, ...] = pydantic.Field(default=(3, 12, 48), min_length=1)
    """products with the Jacobian that an estimate may take, rising multiples of 3"""
    draws: int = pydantic.Field(default=1024, ge=2)
    """estimates of each kind"""

    @pydantic.model_validator(mode="after")
    def _can_be_drawn(self):
        for name in ("steps", "products"):
            if list(getattr(self, name)) != sorted(set(getattr(self, name))):
                raise ValueError(f"{name} must rise, got {getattr(self, name)}")
        if self.products[0] < 3:
            raise ValueError(f"products must be 3 or more, which Hutch++ takes, got {self.products[0]}")
        if self.rank > self.size:
            raise ValueError(f"rank must be at most size, got {self.rank} of {self.size}")
        return self


VARIABLES = {
    "step_count": Variable(("step_count",), "", "Runge-Kutta steps"),
    "residual": Variable(("step_count",), "nat", "integral of the trace less the flow's log-determinant"),
    "log_determinant": Variable(("step_count",), "nat", "log-determinant of the flow's Jacobian"),
    "estimator": Variable(("estimator",), "", "how the trace is estimated"),
    "field": Variable(("field",), "", "how many directions carry the trace"),
    "product_count": Variable(("product_count",), "", "products with the Jacobian in each evaluation"),
    "error": Variable(_ESTIMATED, "nat", "root mean square error of the log-volume"),
    "reported": Variable(_ESTIMATED, "nat", "root mean square of the reported errors"),
    "bias": Variable(_ESTIMATED, "", "mean error, in standard errors over draws"),
    "variance_off": Variable(_ESTIMATED, "", "mean square error less theory's, in standard errors over draws"),
    "reported_off": Variable(_ESTIMATED, "", "mean reported square less theory's, in standard errors over draws"),
    "theory": Variable(_ESTIMATED, "nat", "standard deviation in closed form"),
    "volume": Variable(("field",), "nat", "the log-volume itself"),
}


def shared(config):
    """What the axes count."""
    return {
        "step_count": np.array(config.steps),
        "estimator": np.array(ESTIMATORS),
        "field": np.array(FIELDS),
        "product_count": np.array(config.products),
    }


def run(config, key):
    """The identity under refinement, then estimates over many draws of the probes."""
    refined, drawn = jax.random.split(key)
    return {**_refined(config, refined), **_estimated(config, drawn)}


def _refined(config, key):
    """The integral of the trace, beside the log-determinant of the Jacobian of the same discrete flow."""
    from jaxcalc import jacobian, models

    field = models.mlp_field(config.dimension, 8, num_hidden=1)
    init_key, point_key = jax.random.split(key)
    params, point = field.init(init_key), jax.random.normal(point_key, (config.dimension,), float)

    def both(num_steps):
        flow = models.normalizing_flow(field, config.dimension, solver="rk4", num_steps=num_steps)
        moved = jacobian(lambda x: flow.to_base(params, x), method="reverse")(point)
        return flow.log_volume(params, point), jnp.linalg.slogdet(moved)[1]

    volume, determinant = jnp.array([both(num_steps) for num_steps in config.steps]).T
    return {"residual": volume - determinant, "log_determinant": determinant}


def _estimated(config, key):
    """Errors of estimated log-volumes on both fields, with the standard deviations that theory gives."""
    from jaxcalc import models

    field = models.mlp_field(config.size, config.size, num_hidden=1)
    init_key, point_key, draw_key = jax.random.split(key, 3)
    hidden, output = field.init(init_key)
    point = jax.random.normal(point_key, (config.size,), float)
    few = (jnp.arange(config.size) < config.rank)[:, None] * jnp.sqrt(config.size / config.rank)
    both = [hidden, output._replace(weights=jnp.stack([output.weights, few * output.weights]))]
    axes = [None, type(output)(0, None)]

    def over_fields(told):
        return jax.vmap(told, (axes, None))(both, draw_key)

    exact, variances = over_fields(lambda params, _: _theory(config, field, params, point))
    columns = [
        [over_fields(_drawn(config, field, point, method, count)) for count in config.products] for method in ESTIMATORS
    ]
    values, reported = (
        jnp.moveaxis(jnp.array([[cell[part] for cell in row] for row in columns]), 2, 1) for part in (0, 1)
    )  # estimator, field, products, draw
    off = values - exact[:, None, None]
    variances = variances.T[:, :, None] / jnp.asarray(config.products)
    variances = jnp.concatenate([variances, jnp.full((1, *variances.shape[1:]), jnp.nan)])  # none of Hutch++
    return {
        "error": jnp.sqrt(jnp.mean(off**2, -1)),
        "reported": jnp.sqrt(jnp.mean(reported**2, -1)),
        "bias": _standardised(off, 0.0),
        "variance_off": _standardised(off**2, variances),
        "reported_off": _standardised(reported**2, variances),
        "theory": jnp.sqrt(variances),
        "volume": exact,
    }


def _standardised(draws, expected):
    """How far the mean over draws lies from what is expected, in its standard errors."""
    return (jnp.mean(draws, -1) - expected) / (jnp.std(draws, -1, ddof=1) / draws.shape[-1] ** 0.5)


def _flow(config, field, **trace):
    from jaxcalc import models

    return models.normalizing_flow(field, config.size, solver="rk4", num_steps=8, **trace)


def _drawn(config, field, point, method, count):
    """``(params, key) -> (estimates, their reported errors)`` over draws, of so many products each."""
    trace = "hutch++" if method == "Hutch++" else "hutchinson"
    probes = "normal" if method == "normal probes" else "rademacher"
    flow = _flow(config, field, trace=trace, num_probes=count, probes=probes)

    def draws(params, key):
        keys = jax.random.split(key, config.draws)
        told = jax.lax.map(lambda key: flow.log_volume(params, point, key), keys, batch_size=256)
        return told.value, told.standard_error

    return draws


def _theory(config, field, params, point):
    """The exact log-volume, and the variances of one product's estimate by signs and by normal probes.

    Both see the Jacobian's integral M alone, of it the symmetric part S: ``2 (|S|^2 - sum S_ii^2)`` and ``2 |S|^2``.
    """
    from jaxcalc import jacobian
    from jaxcalc.transforms.flow import flow

    def rates(_, state, params):
        told = lambda y: field.apply(params, y)
        return told(state[0]), jacobian(told)(state[0])

    start = point, jnp.zeros((config.size, config.size))
    integral = flow(rates, solver="rk4", num_steps=8)(start, jnp.array([1.0, 0.0]), params)[1][-1]
    symmetric = (integral + integral.T) / 2
    whole, diagonal = jnp.sum(symmetric**2), jnp.sum(jnp.diagonal(symmetric) ** 2)
    return _flow(config, field).log_volume(params, point), jnp.array([2 * (whole - diagonal), 2 * whole])


def figures(dataset):
    """The identity against steps, and the error of estimates against products."""
    data = first(dataset, "step_count", "estimator", "field", "product_count")
    figure, axes = style.subplots(1, 3, width="page", height=2.7)
    steps = data.step_count.values
    residual = abs(data.residual)
    axes[0].loglog(steps, residual, "o-", color=style.COLORS["purple"])
    guide = float(residual[0]) * (steps / steps[0]) ** -4.0
    clear = guide > np.finfo(float).eps
    axes[0].loglog(steps[clear], guide[clear], **{**style.THEORY, "label": "order 4"})
    axes[0].axhline(np.finfo(float).eps, color="#999999", linewidth=0.7)
    axes[0].annotate("rounding", (steps[0], np.finfo(float).eps), (0, 3), textcoords="offset points")
    axes[0].set(xlabel="Runge-Kutta steps", ylabel="|trace integral - log-determinant|, nat")
    axes[0].legend(loc="upper right")
    for ax, kind_of_field in zip(axes[1:], data.field.values, strict=True):
        at = {"field": kind_of_field}
        for name in ESTIMATORS:
            look = {**_LOOKS[name], "label": name}
            ax.loglog(data.product_count, data.error.sel(**at, estimator=name), **look)
            ax.loglog(data.product_count, data.theory.sel(**at, estimator=name), **style.THEORY)
        ax.set(xlabel="products with the Jacobian", title=str(kind_of_field))
        style.ticks(ax.xaxis, data.product_count.values)
    style.ticks(axes[1].yaxis, [0.1, 0.2, 0.5, 1, 2, 5])
    axes[1].set_ylabel("error of the log-density, nat")
    axes[1].plot([], [], **{**style.THEORY, "label": "theory"})
    axes[1].legend(loc="lower left")
    settings = params(dataset)
    figure.set_label(
        f"(a) What the integral of the trace misses of the log-determinant of the same discrete flow, "
        f"{settings['dimension']} states. (b, c) Root mean square error of a log-density of {settings['size']} states "
        f"whose trace is estimated, by the products that each evaluation takes: a field that turns in all directions, "
        f"and one whose Jacobian has rank {settings['rank']}; dashed: theory."
    )
    return {"traces": figure}


def _identity(dataset):
    data = first(dataset, "step_count")
    if data.residual.dtype != np.float64 or data.step_count.values[-1] < 400:
        raise NotJudged("it takes 400 steps in double precision")
    last = data.isel(step_count=-1)
    return Finding(
        below(last.residual) & less(0.0, abs(last.log_determinant)),
        measured=f"log-determinant {float(last.log_determinant):.6f}, residual {abs(float(last.residual)):.1e}",
        figure="traces",
        note="Of flows by equal steps the two differ by the order of the method, 4, as the steps are refined.",
    )


def _spread(dataset):
    """Means, mean squares and what was reported, in standard errors over draws."""
    data = first(dataset, *_ESTIMATED).sel(estimator=list(ESTIMATORS[:2]))
    off = [data[name] for name in ("bias", "variance_off", "reported_off")]
    ratio = data.error / data.theory
    return Finding(
        below(off[0]) & below(off[1]) & below(off[2]) & between(ratio, 0.75, 1.33),
        measured=f"errors {float(ratio.min()):.3f} to {float(ratio.max()):.3f} of theory; mean, variance and reported "
        f"variance at most {', '.join(f'{float(abs(each).max()):.1f}' for each in off)} standard errors off",
        figure="traces",
    )


def _few(dataset):
    """Products in which Hutch++ spans the range are enough for all; where all directions count they gain little."""
    data = first(dataset, "estimator", "field", "product_count")
    whole = data.product_count.values >= 3 * params(dataset)["rank"]
    if not whole.any() or data.error.dtype != np.float64:
        raise NotJudged("it takes three products or more for each direction, in double precision")
    share = data.error.sel(estimator="Hutch++") / data.error.sel(estimator="random signs")
    few, all_ = share.sel(field="few directions")[whole], share.sel(field="all directions")[whole]
    return Finding(
        less(few, 1e-6),
        limits=less(0.5, all_[0]),
        measured=f"with few directions at most {float(few.max()):.0e} of the error by random signs, "
        f"with all {float(all_[0]):.2f}",
        figure="traces",
    )


claims = {
    "continuous-normalizing-flow-density": _identity,
    "probes-have-the-variance-of-theory": _spread,
    "hutch-plus-plus-wins-by-rank": _few,
}

"""Which penalties and which steps set weights to exactly 0?

An L1 penalty and an L2 penalty on the same sparse regression, each by proximal steps (with L1: soft thresholding, ISTA)
and by steps along a subgradient.
"""

import pydantic

from jaxcalc import lab, style
from jaxcalc.lab import Finding, Variable, above, below, equal, jax, jnp, less

kind = "host"

_PROXIMAL, _FIXED, _SHRINKING = "L1, proximal", "L1, subgradient", "L1, subgradient, 1/√k"
_L2 = ["L2, proximal", "L2, gradient"]


class Config(lab.Config):
    samples: int = pydantic.Field(60, ge=10)
    """rows of the regression"""
    dimension: int = pydantic.Field(20, ge=2)
    """weights"""
    nonzero: int = pydantic.Field(4, ge=1)
    """of them that the data were made with; the others are 0"""
    noise: float = pydantic.Field(0.1, ge=0)
    """standard deviation of the targets"""
    strength: float = pydantic.Field(0.1, gt=0)
    """of both penalties"""
    num_steps: int = pydantic.Field(300, ge=10)
    """steps of every method, of length 1 / L"""
    draws: int = pydantic.Field(20, ge=1)
    """random regressions"""


VARIABLES = {
    "route": Variable(("route",), "", "penalty and steps"),
    "step": Variable(("step",), "", "step"),
    "gap": Variable(("route", "draw", "step"), "", "penalised loss less its minimum"),
    "bound": Variable(("draw", "step"), "", "L |w0 - w*|^2 / (2 k), for proximal steps with L1"),
    "zeros": Variable(("route", "draw"), "", "weights that are exactly 0 at the end"),
    "optimality": Variable(("draw",), "", "residual of L1's optimality condition at its minimum"),
    "spared": Variable((), "", "weights that are 0 in the truth"),
    "weights": Variable(("route", "coordinate"), "", "weights at the end, first regression"),
    "coordinate": Variable(("coordinate",), "", "weight"),
}


def run(config, key):
    from jaxcalc.functions.penalties import PENALTIES

    routes = {
        _PROXIMAL: ("l1", True, 0.0),
        _FIXED: ("l1", False, 0.0),
        _SHRINKING: ("l1", False, 0.5),
        _L2[0]: ("l2", True, 0.0),
        _L2[1]: ("l2", False, 0.0),
    }
    truth = jnp.where(jnp.arange(config.dimension) < config.nonzero, 2.0, 0.0)
    counts = jnp.arange(1.0, config.num_steps + 1)

    def drawn(key):
        keys = jax.random.split(key, 3)
        design = jax.random.normal(keys[0], (config.samples, config.dimension))
        target = design @ truth + config.noise * jax.random.normal(keys[1], (config.samples,))
        start = jax.random.normal(keys[2], (config.dimension,))
        loss = lambda w: jnp.mean((design @ w - target) ** 2) / 2
        curvature = jnp.linalg.eigvalsh(design.T @ design / config.samples)[-1]

        def way(name, proximal, power, counts=counts):
            penalty, strength = PENALTIES[name], config.strength

            def step(w, count):
                rate = count**-power / curvature
                slope = jax.grad(loss)(w)
                if proximal:
                    w = penalty.proximal(w - rate * slope, rate * strength)
                else:
                    w = w - rate * (slope + penalty.gradient(w, strength))
                return w, loss(w) + penalty(w, strength)

            return jax.lax.scan(step, start, counts)

        longer = jnp.ones(20 * config.num_steps)
        best = {name: way(name, True, 0.0, longer) for name in PENALTIES}
        ends, values = zip(*(way(*route) for route in routes.values()))
        minima = jnp.array([best[name][1][-1] for name, *_ in routes.values()])
        sparse, weights = best["l1"][0], jnp.stack(ends)
        moved = PENALTIES["l1"].proximal(sparse - jax.grad(loss)(sparse) / curvature, config.strength / curvature)
        return {
            "gap": jnp.stack(values) - minima[:, None],
            "bound": curvature * jnp.sum((start - sparse) ** 2) / (2 * counts),
            "zeros": (weights == 0).sum(axis=1),
            "optimality": curvature * jnp.abs(moved - sparse).max(),
            "weights": weights,
        }

    found = jax.jit(jax.vmap(drawn))(jax.random.split(key, config.draws))
    return {
        "route": list(routes),
        "step": counts,
        "gap": found["gap"].swapaxes(0, 1),
        "bound": found["bound"],
        "zeros": found["zeros"].T,
        "optimality": found["optimality"],
        "spared": config.dimension - config.nonzero,
        "weights": found["weights"][0],
        "coordinate": jnp.arange(1, config.dimension + 1),
    }


def _told(zeros):
    low, high = zeros.min(), zeros.max()
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def _exact_zeros(dataset):
    sparse, ridge = (dataset.zeros.sel(route=route).values for route in (_PROXIMAL, _L2))
    spared = float(dataset.spared)
    return Finding(
        above(sparse, spared / 2) & below(sparse, spared) & equal(ridge, 0.0) & below(dataset.optimality),
        measured=f"weights exactly 0, of {spared:g} that the truth has: L1 {_told(sparse)}, L2 {_told(ridge)}",
        figure="weights",
    )


def _no_zeros(dataset):
    routes = [_FIXED, _SHRINKING]
    zeros = dataset.zeros.sel(route=routes).values
    left, reached = (dataset.gap.isel(step=-1).sel(route=r).values for r in (routes, _PROXIMAL))
    return Finding(
        equal(zeros, 0.0) & below(reached) & above(left, 1e-6),
        measured=f"weights exactly 0: {_told(zeros)}; gaps from {left.min():.1g}, by proximal steps up to "
        f"{abs(reached).max():.0e}",
        figure="gaps",
    )


def _within_bound(dataset):
    gap = dataset.gap.sel(route=_PROXIMAL).values
    return Finding(less(gap / dataset.bound.values, 1.0), figure="gaps")


def figures(dataset):
    weights, panels = style.chart(
        abs(dataset.weights.sel(route=[_PROXIMAL, _FIXED, _SHRINKING, _L2[0]])),
        "coordinate",
        hue="route",
        log="y",
        linestyle="",
        xlabel="weight",
        ylabel="size at the end",
        ylim=(1.2e-8, 10),
        width=5.2,
        height=3.2,
    )
    panels[0, 0].xaxis.get_major_locator().set_params(integer=True)
    weights.set_label(
        "Sizes of the weights of one regression after the last step; those that are exactly 0 are hollow triangles. "
        "Only the proximal steps with an L1 penalty have them; with an L2 penalty gradient steps end where proximal "
        "steps do."
    )
    gap = dataset.gap.sel(route=[_PROXIMAL, _FIXED, _SHRINKING])
    gaps, panels = style.chart(
        gap.where(gap > 1e-13),
        "step",
        hue="route",
        theory=dataset.bound.median("draw"),
        log="xy",
        ylabel="penalised loss less its minimum",
        legend="lower left",
        width=4.4,
        height=3.0,
    )
    gaps.set_label(
        "Steps of one length: subgradients stay away from the minimum, proximal steps reach it to rounding (below "
        "1e-13 nothing is drawn). Medians and quartiles over the regressions; dashed: the bound "
        "L |w0 - w*|^2 / (2 k) of proximal steps."
    )
    return {"weights": weights, "gaps": gaps}


claims = {
    "l1-proximal-steps-give-exact-zeros": _exact_zeros,
    "l1-subgradient-steps-give-no-zeros": _no_zeros,
    "ista-gap-within-its-bound": _within_bound,
}

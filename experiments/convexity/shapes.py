"""What do chords and Hessian eigenvalues tell of a function's shape?"""

import functools
import operator

import numpy as np
import pydantic

from experiments.convexity import xor_loss
from jaxcalc import lab, style
from jaxcalc.lab import Finding, Variable, above, below, close, equal, jax, jnp, less

kind = "host"

# By function: is it convex?
_CHORDS = {
    "quadratic": True,
    "log-sum-exp": True,
    "logistic regression": True,
    "Himmelblau": False,
    "XOR network": False,
}
_POINTS = {
    "$x^2 + 2y^2$": "minimum",
    "$-x^2 - 2y^2$": "maximum",
    "$x^2 - y^2$": "neither",
    "$x^4 + y^4$": "minimum",
    "$x^3 + y^2$": "neither",
    "$-x^4 - y^4$": "maximum",
    "$(w_1 w_2 - 1)^2$": "neither",
}
_QUADRATICS, _DEGENERATE, _NETWORK = list(_POINTS)[:3], list(_POINTS)[3:6], list(_POINTS)[6]


class Config(lab.Config):
    chords: int = pydantic.Field(20_000, ge=100)
    """random chords of each function"""
    hessians: int = pydantic.Field(200, ge=10)
    """random points of each function whose Hessian is taken"""
    directions: int = pydantic.Field(360, ge=8)
    """around each stationary point"""
    hidden: int = pydantic.Field(8, ge=3)
    """hidden units of the network"""
    path: int = pydantic.Field(101, ge=5)
    """points on the line between two of its solutions"""


VARIABLES = {
    "function": Variable(("function",), "", "function"),
    "margin": Variable(("function", "chord"), "", "chord less function, relative to the chord above 1"),
    "least_curvature": Variable(("function", "point"), "", "least eigenvalue of the Hessian at a random point"),
    "shape": Variable(("shape",), "", "function with a stationary point at the origin"),
    "gradient_norm": Variable(("shape",), "", "norm of its gradient there"),
    "eigenvalues": Variable(("shape", "eigenvalue"), "", "eigenvalues of its Hessian there"),
    "around": Variable(("shape", "direction"), "", "the function on a circle of radius 0.1 less that at the origin"),
    "share": Variable(("share",), "", "way from one solution of XOR to its relabelled copy"),
    "loss_along": Variable(("share",), "", "mean cross-entropy there"),
}


def run(config, key):
    from jax.flatten_util import ravel_pytree

    from jaxcalc import hessian, minimize
    from jaxcalc.functions import problems
    from jaxcalc.functions.landscapes import LANDSCAPES
    from jaxcalc.models import mlp

    keys = jax.random.split(key, 3)
    model = mlp((2, config.hidden, 1))
    start, unravel = ravel_pytree(model.init(keys[0]))
    loss = xor_loss(model)
    network = lambda v: loss(unravel(v))
    functions = {
        "quadratic": (problems.quadratic().function, 8, 3.0),
        "log-sum-exp": (problems.log_sum_exp().function, 4, 3.0),
        "logistic regression": (problems.breast_cancer().function, 31, 3.0),
        "Himmelblau": (LANDSCAPES["himmelblau"].function, 2, 3.0),
        "XOR network": (network, start.size, 2.0),
    }

    second = lambda fun: hessian(fun, method="forward-over-reverse")

    # Drawn once, as wide as the widest function; the others take the first columns.
    draws = jax.random.normal(
        keys[1], (2 * config.chords + config.hessians, max(size for _, size, _ in functions.values()))
    )
    share_of_first = jax.random.uniform(keys[2], (config.chords,), minval=0.01, maxval=0.99)

    def chords(fun, size, scale, draws, t):
        a, b, at = jnp.split(scale * draws[:, :size], [config.chords, 2 * config.chords])
        value = jax.vmap(fun)
        above = t * value(a) + (1 - t) * value(b)
        least = jnp.linalg.eigvalsh(jax.vmap(second(fun))(at))[:, 0]
        return (above - value(t[:, None] * a + (1 - t)[:, None] * b)) / jnp.maximum(abs(above), 1.0), least

    found = [jax.jit(chords, static_argnums=(0, 1, 2))(*functions[name], draws, share_of_first) for name in _CHORDS]

    points = (
        lambda p: p[0] ** 2 + 2 * p[1] ** 2,
        lambda p: -(p[0] ** 2) - 2 * p[1] ** 2,
        lambda p: p[0] ** 2 - p[1] ** 2,
        lambda p: p[0] ** 4 + p[1] ** 4,
        lambda p: p[0] ** 3 + p[1] ** 2,
        lambda p: -(p[0] ** 4) - p[1] ** 4,
        lambda w: (w[0] * w[1] - 1.0) ** 2,
    )
    angle = np.linspace(0, 2 * np.pi, config.directions, endpoint=False)
    ring = 0.1 * np.stack([np.cos(angle), np.sin(angle)], -1)

    def classified(origin, ring):
        return {
            "gradient_norm": jnp.array([jnp.linalg.norm(jax.grad(fun)(origin)) for fun in points]),
            "eigenvalues": jnp.stack([jnp.linalg.eigvalsh(second(fun)(origin)) for fun in points]),
            "around": jnp.stack([jax.vmap(fun)(ring) - fun(origin) for fun in points]),
        }

    solved = minimize(network, start, method="l-bfgs", max_steps=500, tol=1e-3).x
    weights = unravel(solved)
    order = np.roll(np.arange(config.hidden), 1)
    first, last = weights
    relabelled, _ = ravel_pytree(
        [
            first._replace(weights=first.weights[:, order], biases=first.biases[order]),
            last._replace(weights=last.weights[order]),
        ]
    )
    share = jnp.linspace(0.0, 1.0, config.path)
    along = jax.jit(jax.vmap(lambda t: network((1 - t) * solved + t * relabelled)))(share)
    return {
        "function": np.array(list(_CHORDS)),
        "margin": np.stack([margin for margin, _ in found]),
        "least_curvature": np.stack([least for _, least in found]),
        "shape": np.array(list(_POINTS)),
        **jax.jit(classified)(jnp.zeros(2), jnp.asarray(ring)),
        "share": share,
        "loss_along": along,
    }


_SLACK = 1e-12


def _extremes(values):
    """The least and the largest number, NaN where one is."""
    return float(np.min(values.values)), float(np.max(values.values))


def _bowl(values):
    return less(0.0, values)


def _dome(values):
    return less(values, 0.0)


def _mixed(values):
    low, high = _extremes(values)
    return less(low, 0.0) & less(0.0, high)


_SIGNS = {"minimum": _bowl, "maximum": _dome, "neither": _mixed}


def _eigenvalues(dataset, names):
    return "; ".join(f"{name}: {dataset.eigenvalues.sel({'shape': name}).values.tolist()}" for name in names)


def _classified(dataset):
    """Whether the quadratics' eigenvalues tell what the values around them show."""
    each = [
        _SIGNS[_POINTS[name]](values.sel({"shape": name}))
        for name in _QUADRATICS
        for values in (dataset.eigenvalues, dataset.around)
    ]
    return functools.reduce(operator.and_, each)


def _chord(dataset):
    margin = dataset.margin.sel(function="log-sum-exp")
    measured = f"smallest margin {_extremes(margin)[0]:.2g} of {margin.size} chords"
    return Finding(below(np.maximum(-margin.values, 0.0)), measured=measured, figure="shapes")


def _agree(dataset):
    convex = [name for name, kind in _CHORDS.items() if kind]
    others = [name for name in _CHORDS if name not in convex]
    both = (dataset.margin, dataset.least_curvature)
    least = [_extremes(values.sel(function=name))[0] for name in others for values in both]
    share = lambda values, name: 100 * float((values.sel(function=name) < -_SLACK).mean())
    return Finding(
        above([values.sel(function=convex).values for values in both], -_SLACK) & less(least, -_SLACK),
        measured=", ".join(
            f"{name} {share(dataset.margin, name):.1f}% of chords, "
            f"{share(dataset.least_curvature, name):.1f}% of Hessians"
            for name in others
        ),
        figure="shapes",
    )


def _undecided(dataset):
    eigenvalues, around = (values.sel({"shape": _DEGENERATE}) for values in (dataset.eigenvalues, dataset.around))
    shapes = [_SIGNS[_POINTS[name]](around.sel({"shape": name})) for name in _DEGENERATE]
    zero = equal(np.abs(eigenvalues.values).min(axis=1), 0.0)
    return Finding(
        _classified(dataset),
        limits=functools.reduce(operator.and_, shapes, zero),
        measured=f"{_eigenvalues(dataset, _DEGENERATE)}: in truth {', '.join(_POINTS[name] for name in _DEGENERATE)}",
    )


def _saddle(dataset):
    one = dataset.sel({"shape": _NETWORK})
    return Finding(
        close({"gradient_norm": one.gradient_norm, "eigenvalues": one.eigenvalues}) & _mixed(one.around),
        measured=f"gradient {float(one.gradient_norm):.2g}, eigenvalues {one.eigenvalues.values.tolist()}",
    )


def _relabelled(dataset):
    along = dataset.loss_along.values
    middle, ends = float(along[len(along) // 2]), (float(along[0]), float(along[-1]))
    return Finding(
        less(ends, 0.01) & less(sum(ends) / 2 + 0.01, middle) & above(along, 0.0),
        measured=f"loss {ends[0]:.2g} at a solution and {ends[1]:.2g} with its units relabelled, {middle:.3g} half way",
        figure="path",
    )


def figures(dataset):
    names = list(map(str, dataset.function.values))
    figure, (left, right) = style.subplots(1, 2, width="page", height=2.9, sharey=True)
    for row, name in enumerate(names):
        color = style.COLORS["blue" if _CHORDS[name] else "vermilion"]
        for panel, values in ((left, dataset.margin), (right, dataset.least_curvature)):
            one = values.sel(function=name).values
            low, first, middle, third, high = np.quantile(one, (0, 0.25, 0.5, 0.75, 1))
            panel.plot((low, high), (row, row), color=color, linewidth=1.0)
            panel.plot((first, third), (row, row), color=color, linewidth=5, solid_capstyle="butt", alpha=0.55)
            panel.plot(low, row, "|", color=color, markersize=9, markeredgewidth=1.4)
            panel.plot(middle, row, "o", color=color, markersize=4)
    for panel, threshold in ((left, 1e-4), (right, 1e-3)):
        style.name_rows(panel, names)
        panel.set_xscale("symlog", linthresh=threshold)
        panel.axvline(0, color=style.COLORS["black"], linewidth=0.8)
    left.set(xlabel="chord above the function, relative")
    left.set_xticks([-1, -1e-2, 0, 1e-2, 1], ["−1", "−0.01", "0", "0.01", "1"])
    right.set(xlabel="least eigenvalue of the Hessian")
    right.set_xticks([-100, -1, 0, 1, 100], ["−100", "−1", "0", "1", "100"])
    figure.set_label(
        "How far random chords pass above a function, and the least curvature at random points: least, quartiles, "
        "median and largest. Of the convex functions (blue) nothing lies left of 0. Both axes are linear near 0."
    )
    path, panel = style.subplots(width="column", height=2.4)
    panel.plot(dataset.share, dataset.loss_along, color=style.COLORS["vermilion"])
    ends = [float(dataset.loss_along[0]), float(dataset.loss_along[-1])]
    panel.plot([0, 1], ends, **style.THEORY)
    panel.plot([0, 1], ends, "o", color=style.COLORS["black"])
    panel.annotate("chord", (0.5, sum(ends) / 2), (0, 4), textcoords="offset points", ha="center", fontsize=7)
    panel.set(xlabel="way from a solution to its relabelled copy", ylabel="mean cross-entropy")
    path.set_label(
        "The loss of an XOR network on the line between a solution and the same network with its hidden units "
        "relabelled; a convex function would stay below the dashed chord."
    )
    return {"shapes": figure, "path": path}


claims = {
    "convex-chord-definition": _chord,
    "chords-and-curvature-agree": _agree,
    "hessian-eigenvalue-classification": lambda data: Finding(
        _classified(data), measured=_eigenvalues(data, _QUADRATICS)
    ),
    "hessian-eigenvalues-answer-the-shape": _undecided,
    "network-loss-has-saddle-points": _saddle,
    "network-loss-non-convex": _relabelled,
}

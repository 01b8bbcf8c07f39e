"""What does convexity promise, and what happens without it?

Chords, Hessian eigenvalues and the shape that they tell (``shapes``); many starts on convex and on other functions
(``starts``); a convex loss without a minimum, on separable data (``separable``); and how often networks of rising width
learn XOR from a random start (``width``).
"""

import functools
import operator
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pydantic

from jaxcalc.lab import (
    Config,
    Finding,
    NotJudged,
    Part,
    Variable,
    above,
    below,
    between,
    close,
    equal,
    less,
    over,
)

if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure

_XOR = ([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], [0.0, 1.0, 1.0, 0.0])


def _xor_loss(model: Any) -> Any:
    """The mean cross-entropy of a network with one logit on the four samples of XOR."""
    import jax.numpy as jnp

    from jaxcalc.functions.losses import binary_cross_entropy_from_logits

    inputs, targets = (jnp.asarray(table) for table in _XOR)
    return lambda params: binary_cross_entropy_from_logits.mean(model.apply(params, inputs)[:, 0], targets)


# -- shapes ------------------------------------------------------------------------------------------------------------

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


class Shapes(Config):
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


def run_shapes(config: Shapes, key: Any) -> dict[str, Any]:
    import jax
    import jax.numpy as jnp
    from jax.flatten_util import ravel_pytree

    from jaxcalc import hessian, minimize
    from jaxcalc.functions import problems
    from jaxcalc.functions.landscapes import LANDSCAPES
    from jaxcalc.models import mlp

    keys = jax.random.split(key, 3)
    model = mlp((2, config.hidden, 1))
    start, unravel = ravel_pytree(model.init(keys[0]))
    loss = _xor_loss(model)
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
    return Finding(below(-margin), measured=measured, figure="shapes")


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


def figures_of_shapes(dataset: "xarray.Dataset") -> dict[str, "Figure"]:
    from jaxcalc import style

    names = list(map(str, dataset.function.values))
    figure, (left, right) = style.subplots(1, 2, width="page", height=2.9, sharey=True)
    for row, name in enumerate(reversed(names)):
        color = style.COLORS["blue" if _CHORDS[name] else "vermilion"]
        for panel, values in ((left, dataset.margin), (right, dataset.least_curvature)):
            one = values.sel(function=name).values
            low, first, middle, third, high = np.quantile(one, (0, 0.25, 0.5, 0.75, 1))
            panel.plot((low, high), (row, row), color=color, linewidth=1.0)
            panel.plot((first, third), (row, row), color=color, linewidth=5, solid_capstyle="butt", alpha=0.55)
            panel.plot(low, row, "|", color=color, markersize=9, markeredgewidth=1.4)
            panel.plot(middle, row, "o", color=color, markersize=4)
    left.set_yticks(range(len(names)), list(reversed(names)))
    for panel, threshold in ((left, 1e-4), (right, 1e-3)):
        panel.set_xscale("symlog", linthresh=threshold)
        panel.axvline(0, color=style.COLORS["black"], linewidth=0.8)
    left.set(xlabel="chord above the function, relative")
    left.set_xticks([-1, -1e-2, 0, 1e-2, 1], ["−1", "−0.01", "0", "0.01", "1"])
    right.set(xlabel="least eigenvalue of the Hessian")
    right.set_xticks([-100, -1, 0, 1, 100], ["−100", "−1", "0", "1", "100"])
    style.panel_labels((left, right))
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


shapes = Part(
    Shapes,
    {
        "function": Variable(("function",), "", "function"),
        "margin": Variable(("function", "chord"), "", "chord less function, relative to the chord above 1"),
        "least_curvature": Variable(("function", "point"), "", "least eigenvalue of the Hessian at a random point"),
        "shape": Variable(("shape",), "", "function with a stationary point at the origin"),
        "gradient_norm": Variable(("shape",), "", "norm of its gradient there"),
        "eigenvalues": Variable(("shape", "eigenvalue"), "", "eigenvalues of its Hessian there"),
        "around": Variable(
            ("shape", "direction"), "", "the function on a circle of radius 0.1 less that at the origin"
        ),
        "share": Variable(("share",), "", "way from one solution of XOR to its relabelled copy"),
        "loss_along": Variable(("share",), "", "mean cross-entropy there"),
    },
    "host",
    run_shapes,
    figures=figures_of_shapes,
    claims={
        "convex-chord-definition": _chord,
        "chords-and-curvature-agree": _agree,
        "hessian-eigenvalue-classification": lambda data: Finding(
            _classified(data), measured=_eigenvalues(data, _QUADRATICS)
        ),
        "hessian-eigenvalues-answer-the-shape": _undecided,
        "network-loss-has-saddle-points": _saddle,
        "network-loss-non-convex": _relabelled,
    },
    doc="What do chords and Hessian eigenvalues tell of a function's shape?",
)

# -- starts ------------------------------------------------------------------------------------------------------------

_SHOWN = {
    "breast-cancer": "logistic regression",
    "himmelblau": "Himmelblau",
    "six-hump-camel": "six-hump camel",
    "xor-network": "XOR network",
}
_TOLERANCE = 1e-9
_FINITE = (-1e300, 1e300)
_CONVEX = {
    "quadratic": True,
    "log-sum-exp": True,
    "breast-cancer": True,
    "himmelblau": False,
    "six-hump-camel": False,
    "xor-network": False,
}


class Starts(Config):
    problem: Literal["quadratic", "log-sum-exp", "breast-cancer", "himmelblau", "six-hump-camel", "xor-network"] = (
        "breast-cancer"
    )
    """what is minimised; the network has two hidden units and the squared error, with a weak ridge"""
    starts: int = pydantic.Field(64, ge=12)
    """random starts"""
    scale: float = pydantic.Field(2.0, gt=0)
    """their standard deviation"""
    max_steps: int = pydantic.Field(500, ge=1)
    """where a lane ends at the latest"""


def _objective(name: str) -> tuple[Any, int]:
    """The function and its number of variables."""
    import jax
    import jax.numpy as jnp
    from jax.flatten_util import ravel_pytree

    from jaxcalc.functions import problems
    from jaxcalc.functions.landscapes import LANDSCAPES
    from jaxcalc.models import mlp

    if name in LANDSCAPES:
        return LANDSCAPES[name].function, 2
    if name != "xor-network":
        problem = problems.build(name)
        return problem.function, problem.dimension
    model = mlp((2, 2, 1))
    with jax.ensure_compile_time_eval():
        example, unravel = ravel_pytree(model.init(jax.random.key(0)))
    inputs, targets = (jnp.asarray(table) for table in _XOR)

    def loss(v):
        # Without the ridge some minima lie at infinity, and every start reaches another value on the way there.
        return jnp.mean((model.apply(unravel(v), inputs)[:, 0] - targets) ** 2) + 1e-4 * jnp.sum(v**2)

    return loss, example.size


def run_starts(config: Starts, key: Any) -> dict[str, Any]:
    import jax
    import jax.numpy as jnp

    from jaxcalc import hessian, minimize

    fun, size = _objective(config.problem)
    starts = config.scale * jax.random.normal(key, (config.starts, size))
    found = jax.vmap(lambda x: minimize(fun, x, method="newton", tol=1e-9, max_steps=config.max_steps))(starts)
    least = jax.lax.map(lambda x: jnp.linalg.eigvalsh(hessian(fun)(x))[0], found.x)
    return {
        "value": found.value,
        "status": found.status,
        "least_curvature": least,
        "first_value": jax.vmap(fun)(starts),
    }


def _values(dataset: "xarray.Dataset", problem: str) -> np.ndarray:
    """Where the starts that reached a local minimum ended, in rising order."""
    one = dataset.sel(problem=problem)
    return np.sort(one.value.values[(one.status.values == 0) & (one.least_curvature.values > -1e-9)])


def _distinct(values: np.ndarray) -> int:
    """How many values there are to six digits."""
    return 1 + int((np.diff(values) > 1e-6).sum()) if values.size else 0


def _ends(dataset, convex):
    """By problem, where its starts ended; and whether every start has an end and a status, and 12 or more arrive."""
    dataset = over(dataset, "problem")
    ends = {n: _values(dataset, n) for n in map(str, dataset.problem.values) if _CONVEX[n] is convex}
    if not ends:
        raise NotJudged(f"it takes a {'convex problem' if convex else 'problem that is not convex'}")
    mine = dataset.sel(problem=list(ends))
    told = between(mine.value, *_FINITE) & between(mine.least_curvature, *_FINITE) & between(mine.status, 0, 4)
    return ends, told & above([values.size for values in ends.values()], 12)


def _global(dataset):
    ends, enough = _ends(dataset, True)
    spread = {name: float(np.ptp(values)) if values.size else 0.0 for name, values in ends.items()}
    return Finding(
        enough & below(spread),
        measured=", ".join(f"{name}: spread {spread[name]:.1g} of {ends[name].size} ends" for name in ends),
        figure="ends",
    )


def _others(dataset):
    ends, enough = _ends(dataset, False)
    spread = {name: float(np.ptp(values)) if values.size else 0.0 for name, values in ends.items()}
    return Finding(
        enough & equal(_distinct(ends["six-hump-camel"]), 3),
        measured=", ".join(f"{name}: {_distinct(ends[name])} values within {spread[name]:.2g}" for name in ends),
        figure="ends",
    )


def figures_of_starts(dataset: "xarray.Dataset") -> dict[str, "Figure"]:
    from jaxcalc import style

    if "problem" not in dataset.dims:
        return {}
    names = list(map(str, dataset.problem.values))
    figure, panel = style.subplots(width=5.0, height=2.9)
    floor = 1e-16
    for name in names:
        ends = _values(dataset, name)
        gap = np.maximum(ends - ends[0], floor) if ends.size else ends
        color = style.COLORS["blue" if _CONVEX[name] else "vermilion"]
        marker = dict(zip(_CONVEX, "osDv^X"))[name]
        panel.plot(
            (np.arange(ends.size) + 0.5) / max(ends.size, 1),
            gap,
            marker,
            color=color,
            markersize=3.5,
            label=_SHOWN.get(name, name),
        )
    panel.axhline(_TOLERANCE, **style.THEORY)
    panel.annotate("tolerance", (0.0, 1e-9), (2, 3), textcoords="offset points", fontsize=7)
    panel.set(yscale="log", xlabel="starts, in the order of where they end", ylabel="value above the lowest found")
    panel.set_yticks([1e-16, 1e-12, 1e-8, 1e-4, 1], ["≤ $10^{-16}$", "$10^{-12}$", "$10^{-8}$", "$10^{-4}$", "1"])
    panel.set_xlim(0, 1)
    figure.legend(loc="outside right upper")
    figure.set_label(
        "Where random starts end, above the lowest end: of convex functions (blue) all at one value, of an XOR network "
        "(red) at several; Himmelblau's four minima have one value."
    )
    return {"ends": figure}


starts = Part(
    Starts,
    {
        "value": Variable(("start",), "", "value at the end"),
        "first_value": Variable(("start",), "", "value at the start"),
        "status": Variable(("start",), "", "0 converged, 1 out of steps, 2 diverged, 3 not finite, 4 stalled"),
        "least_curvature": Variable(("start",), "", "least eigenvalue of the Hessian at the end"),
    },
    "compiled",
    run_starts,
    figures=figures_of_starts,
    claims={"convex-local-is-global": _global, "other-functions-have-other-minima": _others},
    doc="Do all starts reach one value, on convex functions and on others?",
)

# -- separable ---------------------------------------------------------------------------------------------------------

_DATA = ("separable", "overlapping")


class Separable(Config):
    samples: int = pydantic.Field(40, ge=10)
    """points in the plane"""
    decades: int = pydantic.Field(5, ge=3)
    """descent takes 10^decades steps"""
    rate: float = pydantic.Field(1.0, gt=0, lt=2)
    """learning rate times L, the bound on the curvature; 2 is the limit of stability"""


def run_separable(config: Separable, key: Any) -> dict[str, Any]:
    import jax
    import jax.numpy as jnp

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


def _bowl_at(rate: float) -> Any:
    """Values of x^2 / 2 under gradient descent at a rate in units of the inverse curvature."""
    import jax.numpy as jnp

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


def figures_of_separable(dataset: "xarray.Dataset") -> dict[str, "Figure"]:
    from jaxcalc import style

    figure, (left, right) = style.subplots(1, 2, width="page", height=2.6)
    for name, color, marker in zip(_DATA, ("vermilion", "blue"), "so"):
        one = dataset.sel(data=name)
        look = {"color": style.COLORS[color], "marker": marker, "markevery": 10, "label": name}
        left.plot(one.step, one.norm, **look)
        right.plot(one.step, one.loss, **look)
    one = dataset.sel(data="separable")
    slope = float(np.polyfit(np.log(one.step[-40:]), one.norm[-40:], 1)[0])
    line = one.norm.values[-1] + slope * np.log(one.step / one.step.values[-1])
    left.plot(one.step[30:], line[30:], **style.THEORY)
    left.annotate(f"{slope:.2f} log t", (0.62, 0.6), xycoords="axes fraction", fontsize=7.5, ha="right")
    left.set(xscale="log", xlabel="step t", ylabel="norm of the weights")
    right.set(xscale="log", yscale="log", xlabel="step t", ylabel="mean logistic loss")
    right.legend(loc="lower left")
    style.panel_labels((left, right))
    figure.set_label(
        "Gradient descent on logistic regression in the plane: where labels overlap the weights settle, where a line "
        "separates them the loss has no minimum and the weights grow with the logarithm of time."
    )
    return {"norms": figure}


separable = Part(
    Separable,
    {
        "step": Variable(("step",), "", "gradient step"),
        "data": Variable(("data",), "", "labels that a line separates, or that overlap"),
        "norm": Variable(("data", "step"), "", "norm of the weights"),
        "loss": Variable(("data", "step"), "", "mean logistic loss"),
        "gradient": Variable(("data", "step"), "", "norm of its gradient"),
        "steep": Variable(("bowl_step",), "", "x^2/2 under gradient descent at 2.1 over the curvature"),
    },
    "host",
    run_separable,
    figures=figures_of_separable,
    claims={"gd-finds-the-bottom-of-convex": _bottom},
    doc="Does gradient descent find the bottom of a convex loss that has none?",
)

# -- width -------------------------------------------------------------------------------------------------------------


class Width(Config):
    width: int = pydantic.Field(4, ge=1)
    """hidden units"""
    starts: int = pydantic.Field(300, ge=10)
    """random starts"""
    epochs: int = pydantic.Field(2000, ge=1)
    """steps of gradient descent on all four samples"""
    rate: float = pydantic.Field(0.5, gt=0)
    """learning rate"""
    curved: int = pydantic.Field(32, ge=1)
    """starts whose end has its largest curvature taken"""


def run_width(config: Width, key: Any) -> dict[str, Any]:
    import jax
    import jax.numpy as jnp
    from jax.flatten_util import ravel_pytree

    from jaxcalc import hvp
    from jaxcalc.models import mlp
    from jaxcalc.solvers import gradient_descent, iterate

    model = mlp((2, config.width, 1), "relu")
    loss, (inputs, targets) = _xor_loss(model), map(jnp.asarray, _XOR)
    with jax.ensure_compile_time_eval():
        unravel = ravel_pytree(model.init(jax.random.key(0)))[1]
    flat = lambda v: loss(unravel(v))

    def train(key):
        start = ravel_pytree(model.init(key))[0]
        end = iterate(gradient_descent(config.rate), flat, start, num_steps=config.epochs, record=lambda at: None).last
        logits = model.apply(unravel(end.x), inputs)[:, 0]
        return end.x, end.value, jnp.all((logits > 0) == (targets > 0.5))

    def sharpness(x):
        def step(v, _):
            image = hvp(flat)((x,), v)
            return image / jnp.maximum(jnp.linalg.norm(image), 1e-300), jnp.vdot(v, image)

        return jax.lax.scan(step, jnp.ones_like(x) / np.sqrt(x.size), None, length=100)[1][-1]

    ends, value, solved = jax.vmap(train)(jax.random.split(key, config.starts))
    return {"loss": value, "solved": solved, "sharpness": jax.vmap(sharpness)(ends[: config.curved])}


def _success(dataset: "xarray.Dataset") -> "xarray.DataArray":
    return dataset.solved.astype(float).mean("start", skipna=False).sortby("width")


def _wide(dataset):
    rate = _success(over(dataset, "width"))
    widths, shares = rate.width.values, rate.values
    if widths[0] > 4 or widths[-1] < 16:
        raise NotJudged("it takes widths of at most 4 and at least 16 units")
    return Finding(
        above(shares[-1], 0.99) & between(dataset.solved, 0, 1),
        limits=less(shares[0], 0.9) & above(np.diff(shares), -0.02),
        measured=", ".join(f"{share:.3f} at width {width}" for width, share in zip(widths, shares)),
        note="Width makes success reliable here; why is another question, which these data do not settle.",
    )


def figures_of_width(dataset: "xarray.Dataset") -> dict[str, "Figure"]:
    from jaxcalc import style

    if "width" not in dataset.dims or dataset.sizes["width"] < 2:
        return {}
    rate = _success(dataset)
    figure, (left, right) = style.subplots(1, 2, width="page", height=2.6)
    number, share = dataset.sizes["start"], rate.values
    # Wilson's interval: two standard errors, sensible at shares of 0 and 1 too.
    middle, half = (share + 2 / number) / (1 + 4 / number), 2 * np.sqrt(share * (1 - share) / number + 1 / number**2)
    half = half / (1 + 4 / number)
    spread = np.clip([share - middle + half, middle + half - share], 0, None)
    left.errorbar(rate.width, share, spread, color=style.COLORS["blue"], marker="o", elinewidth=0.8, capsize=2)
    left.set(xscale="log", xlabel="hidden units", ylabel="share of starts that learn XOR", ylim=(0, 1.05))
    solved = dataset.solved.isel(start=slice(0, dataset.sizes["curved"])).values
    sharp = dataset.sharpness.where(dataset.sharpness.copy(data=solved.astype(bool))).sortby("width")
    low, middle, high = (sharp.quantile(q, "curved") for q in (0.25, 0.5, 0.75))
    right.plot(sharp.width, middle, color=style.COLORS["green"], marker="^")
    right.fill_between(sharp.width, low, high, color=style.COLORS["green"], alpha=0.2, linewidth=0)
    right.set(xscale="log", yscale="log", xlabel="hidden units", ylabel="largest curvature at solutions")
    for panel in (left, right):
        panel.set_xticks(rate.width.values, [f"{w:g}" for w in rate.width.values])
        panel.minorticks_off()
    right.set_yticks([0.005, 0.01, 0.02, 0.05], ["0.005", "0.01", "0.02", "0.05"])
    style.panel_labels((left, right))
    figure.set_label(
        f"XOR by a ReLU network with one hidden layer from {number} random starts: the share that learns it, with two "
        "standard errors, and the largest eigenvalue of the Hessian where it does, median and quartiles."
    )
    return {"width": figure}


width = Part(
    Width,
    {
        "loss": Variable(("start",), "", "mean cross-entropy at the end"),
        "solved": Variable(("start",), "", "whether all four samples are classified right"),
        "sharpness": Variable(("curved",), "", "largest curvature at the end, by 100 power iterations"),
    },
    "compiled",
    run_width,
    figures=figures_of_width,
    claims={"large-networks-find-good-solutions": _wide},
    doc="How often does a network learn XOR, against its width?",
)

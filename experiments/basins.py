"""Which stationary point does each start reach, and what do the borders look like?

A grid of starts in the plane, all in one program for each solver, every lane with its status (``starts``); and Newton's
iteration for z^3 = 1, whose basins are fractal and turn into one another by a third of a turn (``roots``).
"""

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pydantic

from jaxcalc.lab import Config, Finding, NotJudged, Part, Variable, above, between, close, less, over

if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure

# Light enough for a black dot on each, told apart under every common colour-vision deficiency (Okabe and Ito).
_FILLS = ("#56B4E9", "#E69F00", "#009E73", "#CC79A7", "#0072B2", "#D55E00")
_NOT_A_MINIMUM, _NOWHERE = "#333333", "#FFFFFF"
_CONVERGED = 0

# -- starts ------------------------------------------------------------------------------------------------------------

_NAMES = {
    "gradient-flow": "gradient flow",
    "gradient-descent": "gradient descent",
    "newton": "Newton",
    "bfgs": "BFGS",
    "trust-region": "trust region",
}
Method = Literal["gradient-flow", "gradient-descent", "momentum", "newton", "bfgs", "trust-region"]


class Starts(Config):
    landscape: Literal["himmelblau", "six-hump-camel", "cube-roots"] = "himmelblau"
    """the surface"""
    method: Method = "trust-region"
    """the solver; gradient flow is gradient descent in very short steps"""
    resolution: int = pydantic.Field(81, ge=4)
    """starts along each axis"""
    max_steps: int = pydantic.Field(2000, ge=1)
    """where a lane ends at the latest; gradient flow takes ten times as many"""


def _solver(method: Method, largest: float) -> Any:
    """The solver, with rates in units of the inverse of the largest curvature at a minimum."""
    from jaxcalc.solvers import bfgs, gradient_descent, momentum, newton, trust_region

    match method:
        case "gradient-flow":
            return gradient_descent(0.05 / largest)
        case "gradient-descent":
            return gradient_descent(line_search="armijo")
        case "momentum":
            return momentum(0.2 / largest, decay=0.9)
        case "newton":
            return newton()
        case "bfgs":
            return bfgs()
        case _:
            return trust_region()


def _cells(low: float, high: float, count: int) -> np.ndarray:
    """Centres of equal cells, so that no start lies on a symmetry axis by design alone."""
    return low + (np.arange(count) + 0.5) * (high - low) / count


def run_starts(config: Starts, key: Any) -> dict[str, Any]:
    import jax
    import jax.numpy as jnp

    from jaxcalc import minimize
    from jaxcalc.functions.landscapes import LANDSCAPES

    land = LANDSCAPES[config.landscape]
    at = share_starts(config)
    starts = jnp.stack(jnp.meshgrid(jnp.asarray(at["x"]), jnp.asarray(at["y"])), -1).reshape(-1, 2)
    hessian = jax.hessian(land.function)
    with jax.ensure_compile_time_eval():
        largest = float(jnp.max(jnp.linalg.eigvalsh(jax.vmap(hessian)(jnp.asarray(land.minima)))))
    steps = config.max_steps * (10 if config.method == "gradient-flow" else 1)
    solver = _solver(config.method, largest)
    found = jax.vmap(lambda x: minimize(land.function, x, method=solver, max_steps=steps))(starts)
    reached, distance = land.nearest(found.x)
    shape = (config.resolution, config.resolution)
    return {
        "reached": jnp.where(distance < 1e-3, reached, -1).reshape(shape),
        "nearest": land.nearest(starts, among=land.minima)[0].reshape(shape),
        "status": found.status.reshape(shape),
        "steps": found.num_steps.reshape(shape),
    }


def share_starts(config: Starts) -> dict[str, Any]:
    from jaxcalc.functions.landscapes import LANDSCAPES

    land = LANDSCAPES[config.landscape]
    left, right, bottom, top = land.window
    return {
        "x": _cells(left, right, config.resolution),
        "y": _cells(bottom, top, config.resolution),
        "point": land.stationary,
        "minimum": np.arange(len(land.stationary)) < land.num_minima,
    }


def _shares(data: "xarray.Dataset") -> dict[str, dict[str, float]]:
    """By method, the shares of starts that reach the nearest minimum, any minimum, another stationary point, none."""
    number = int(data.minimum.sum())
    done = (data.status == _CONVERGED) & (data.reached >= 0)
    mean = lambda what: what.mean(("x", "y")).values
    kinds = {
        "nearest": mean(done & (data.reached == data.nearest)),
        "minimum": mean(done & (data.reached < number)),
        "other": mean(done & (data.reached >= number)),
        "nowhere": mean(~done),
    }
    return {str(m): {kind: float(v[i]) for kind, v in kinds.items()} for i, m in enumerate(data["method"].values)}


def _judged_shares(dataset: "xarray.Dataset") -> tuple[Any, dict[str, dict[str, float]]]:
    """Whether every start has an end and a status, and the shares by method."""
    data = over(dataset, "method")
    ended = between(data.reached, -1, len(data.minimum) - 1) & between(data.nearest, 0, len(data.minimum) - 1)
    return ended & above(data.status, 0) & between(data.minimum, 0, 1), _shares(data)


def _nearest(dataset: "xarray.Dataset") -> Finding:
    ended, shares = _judged_shares(dataset)
    if not {"gradient-flow", "newton"} < set(shares):
        raise NotJudged("it takes gradient flow, Newton's method and another")
    flow = shares["gradient-flow"]["nearest"]
    least = min(one["nearest"] for method, one in shares.items() if method != "gradient-flow")
    return Finding(
        ended & less(0.8, flow),
        limits=less(flow, 1.0) & less(least, flow - 0.1),
        measured=", ".join(f"{method} {100 * one['nearest']:.1f}%" for method, one in shares.items()),
        figure="basins",
    )


def _saddles(dataset: "xarray.Dataset") -> Finding:
    ended, shares = _judged_shares(dataset)
    careful = [m for m in ("gradient-flow", "gradient-descent", "bfgs", "trust-region") if m in shares]
    if not careful or "newton" not in shares:
        raise NotJudged("it takes Newton's method and one that insists on descent")
    return Finding(
        ended & less(0.1, shares["newton"]["other"]) & less(0.99, [shares[m]["minimum"] for m in careful]),
        measured="other stationary points: "
        + ", ".join(f"{method} {100 * one['other']:.1f}%" for method, one in shares.items()),
        figure="basins",
    )


def _draw_points(panel: Any, dataset: "xarray.Dataset") -> None:
    least = dataset.minimum.values.astype(bool)
    for chosen, look in ((least, {"marker": "o", "s": 16}), (~least, {"marker": "x", "s": 14, "linewidths": 0.9})):
        points = dataset.point.values[chosen]
        edge = {"edgecolors": "white", "linewidths": 0.6} if look["marker"] == "o" else {}
        color = "black" if look["marker"] == "o" else "#BBBBBB"
        panel.scatter(points[:, 0], points[:, 1], color=color, zorder=3, **{**look, **edge})


def _extent(dataset: "xarray.Dataset") -> tuple[float, float, float, float]:
    """The edges of the outermost cells."""
    edges = []
    for axis in (dataset.x.values, dataset.y.values):
        half = (axis[1] - axis[0]) / 2
        edges += [float(axis[0] - half), float(axis[-1] + half)]
    return edges[0], edges[1], edges[2], edges[3]


def figures_of_starts(dataset: "xarray.Dataset") -> dict[str, "Figure"]:
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Patch

    from jaxcalc import style

    data = over(dataset, "method")
    if set(data.reached.dims) != {"method", "x", "y"}:
        return {}
    number, methods = int(data.minimum.sum()), [str(m) for m in data["method"].values]
    colors = ListedColormap([_NOWHERE, *_FILLS[:number], _NOT_A_MINIMUM])
    extent = _extent(data)
    columns = min(3, len(methods))
    rows = -(-len(methods) // columns)
    aspect = (extent[3] - extent[2]) / (extent[1] - extent[0])
    height = rows * (6.5 / columns * aspect + 0.4) + 0.6
    figure, panels = style.subplots(rows, columns, width="page", height=height, squeeze=False, sharex=True, sharey=True)
    shares = _shares(data)
    for panel in panels.flat[len(methods) :]:
        panel.set_axis_off()
    for panel, method in zip(panels.flat, methods):
        one = data.sel({"method": method})
        done = (one.status == _CONVERGED) & (one.reached >= 0)
        kind = np.where(done, np.minimum(one.reached, number) + 1, 0)
        kind = one.reached.copy(data=kind.astype(float)).transpose("y", "x").values
        panel.imshow(
            kind, origin="lower", extent=extent, cmap=colors, vmin=-0.5, vmax=number + 1.5, interpolation="nearest"
        )
        _draw_points(panel, data)
        panel.set_title(f"{_NAMES.get(method, method)}: {100 * shares[method]['nearest']:.0f}% nearest", fontsize=8)
        panel.grid(visible=False)
        panel.set(xlim=extent[:2], ylim=extent[2:])
    for panel in panels[-1]:
        panel.set_xlabel("$x$ of the start")
    for panel in panels[:, 0]:
        panel.set_ylabel("$y$ of the start")
    handles = [Patch(color=_FILLS[i], label=f"minimum {i + 1}") for i in range(number)]
    handles.append(Patch(color=_NOT_A_MINIMUM, label="saddle or maximum"))
    handles.append(Patch(facecolor=_NOWHERE, edgecolor="#999999", linewidth=0.6, label="none"))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), columnspacing=1.0, handlelength=1.2)
    figure.set_label(
        "The stationary point that each start reaches, by solver; dots are minima, crosses saddles and maxima. The "
        "titles tell how many starts reach the minimum nearest to them."
    )
    return {"basins": figure}


def tables_of_starts(dataset: "xarray.Dataset") -> dict[str, list[dict[str, Any]]]:
    data = over(dataset, "method")
    if set(data.reached.dims) != {"method", "x", "y"}:
        return {}
    steps = data.steps.median(("x", "y")).values
    rows = [
        {
            "method": method,
            "nearest minimum": f"{100 * found['nearest']:.1f}%",
            "a minimum": f"{100 * found['minimum']:.1f}%",
            "saddle or maximum": f"{100 * found['other']:.1f}%",
            "none": f"{100 * found['nowhere']:.1f}%",
            "steps (median)": int(steps[index]),
        }
        for index, (method, found) in enumerate(_shares(data).items())
    ]
    return {"Where starts end": rows}


starts = Part(
    Starts,
    {
        "x": Variable(("x",), "", "first coordinate of the start"),
        "y": Variable(("y",), "", "second coordinate of the start"),
        "point": Variable(("stationary", "coordinate"), "", "stationary points, the minima first"),
        "minimum": Variable(("stationary",), "", "whether it is a minimum"),
        "reached": Variable(("y", "x"), "", "stationary point within 1e-3 of the end; -1 none"),
        "nearest": Variable(("y", "x"), "", "minimum nearest to the start"),
        "status": Variable(("y", "x"), "", "0 converged, 1 out of steps, 2 diverged, 3 not finite, 4 stalled"),
        "steps": Variable(("y", "x"), "", "steps taken"),
    },
    "compiled",
    run_starts,
    shared=share_starts,
    figures=figures_of_starts,
    claims={"descent-reaches-the-nearest-minimum": _nearest, "newton-is-drawn-to-saddles": _saddles},
    tables=tables_of_starts,
    doc="Which minimum does each start reach, by solver?",
)

# -- roots -------------------------------------------------------------------------------------------------------------


class Roots(Config):
    resolution: int = pydantic.Field(256, ge=32)
    """starts along each axis, a power of two"""
    max_steps: int = pydantic.Field(60, ge=1)
    """steps of Newton's method; descent takes fifty times as many"""

    @pydantic.field_validator("resolution")
    @classmethod
    def _halves(cls, value: int) -> int:
        if value & (value - 1):
            raise ValueError(f"a power of two, so that boxes can be halved; got {value}")
        return value


_PROGRAMS = ("Newton's iteration", "gradient descent")


def run_roots(config: Roots, key: Any) -> dict[str, Any]:
    import jax
    import jax.numpy as jnp

    from jaxcalc import minimize
    from jaxcalc.functions.landscapes import LANDSCAPES
    from jaxcalc.solvers import gradient_descent, newton

    left, right, bottom, top = LANDSCAPES["cube-roots"].window
    # The border along the negative axis would lie between boxes of every size, and none would count it.
    shift = (top - bottom) / 24
    x, y = _cells(left, right, config.resolution), _cells(bottom - shift, top - shift, config.resolution)
    starts = np.stack(np.meshgrid(x, y), -1).reshape(-1, 2)
    # A disk, so that a third of a turn takes its starts to points inside it.
    inside = np.hypot(*starts.T) < min(right, top - shift)
    third = 2 * np.pi / 3
    turn = np.array([[np.cos(third), -np.sin(third)], [np.sin(third), np.cos(third)]])
    # On the potential, whose gradient is the conjugate of z^3 - 1, the minimising step is Newton's for the equation.
    programs = {
        "Newton's iteration": ("cube-potential", newton(), config.max_steps),
        "gradient descent": ("cube-roots", gradient_descent(0.0015), 50 * config.max_steps),
    }
    reached, turned, status, steps = [], [], [], []
    roots = lambda points: LANDSCAPES["cube-roots"].nearest(points, among=LANDSCAPES["cube-roots"].minima)

    def solve(name, points):
        land, solver, limit = programs[name]
        options = {"method": solver, "max_steps": limit, "tol": 1e-6}
        return jax.vmap(lambda at: minimize(LANDSCAPES[land].function, at, **options))(jnp.asarray(points))

    for name in _PROGRAMS:
        found, rotated = solve(name, starts), solve(name, starts @ turn.T)
        for kept, one in ((reached, found), (turned, rotated)):
            root, distance = roots(one.x)
            kept.append(np.where(np.asarray(distance) < 1e-3, np.asarray(root), -1).reshape(len(y), len(x)))
        status.append(np.asarray(found.status).reshape(len(y), len(x)))
        steps.append(np.asarray(found.num_steps).reshape(len(y), len(x)))
    return {
        "x": x,
        "y": y,
        "program": np.array(_PROGRAMS),
        "root": LANDSCAPES["cube-roots"].minima,
        "disk": inside.reshape(len(y), len(x)),
        "reached": np.stack(reached),
        "reached_turned": np.stack(turned),
        "status": np.stack(status),
        "steps": np.stack(steps),
    }


def _boxes(reached: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of boxes a side, and how many of the boxes hold starts of more than one end."""
    size, sides, counts = 2, [], []
    while reached.shape[0] // size >= 8:
        boxes = reached.reshape(reached.shape[0] // size, size, reached.shape[1] // size, size)
        mixed = boxes.max((1, 3)) != boxes.min((1, 3))
        sides.append(reached.shape[0] // size)
        counts.append(int(mixed.sum()))
        size *= 2
    return np.array(sides), np.array(counts)


def _dimension(reached: np.ndarray) -> float:
    """The box-counting dimension of the border between basins."""
    from jaxcalc.measure import exponent

    return exponent(*_boxes(reached))


def _turned(dataset: "xarray.Dataset") -> Finding:
    inside, told, shares, symmetric = dataset.disk.values.astype(bool), [], [], []
    for program in map(str, dataset.program.values):
        one = dataset.sel(program=program)
        ends, turned = one.reached.values, one.reached_turned.values
        expected = np.where(ends >= 0, (ends + 1) % 3, -1)
        symmetric.append((turned == expected)[inside].mean())
        shares += [(ends[inside] == root).mean() for root in range(3)]
        told.append(f"{program} {100 * symmetric[-1]:.2f}%")
    even = abs(np.array(shares) - 1 / 3)
    ended = between([dataset.reached, dataset.reached_turned], -1, 2) & between(dataset.disk, 0, 1)
    return Finding(
        ended & less(0.98, symmetric) & less(even, 0.01),
        measured=f"{', '.join(told)}; shares of the disk within {100 * even.max():.2f}% of a third",
        figure="roots",
    )


def _fractal(dataset: "xarray.Dataset") -> Finding:
    newton, descent = (_dimension(dataset.reached.sel(program=p).values) for p in _PROGRAMS)
    return Finding(
        between(dataset.reached, -1, 2) & between(newton, 1.2, 1.6) & close(descent, 1.0, 0.15),
        measured=f"{newton:.2f} and {descent:.2f}",
        figure="roots",
    )


def figures_of_roots(dataset: "xarray.Dataset") -> dict[str, "Figure"]:
    from matplotlib.colors import to_rgb

    from jaxcalc import style

    figure, panels = style.subplots(1, 2, width="page", height=3.6, sharex=True, sharey=True)
    extent = _extent(dataset)
    for panel, program in zip(panels, map(str, dataset.program.values)):
        one = dataset.sel(program=program)
        ends, steps = one.reached.values, one.steps.values.astype(float)
        colors = np.array([to_rgb(c) for c in _FILLS[:3]] + [to_rgb(_NOWHERE)])[np.where(ends >= 0, ends, 3)]
        # The more steps a start takes, the darker its cell.
        low, high = np.quantile(steps, (0.02, 0.99))
        depth = np.clip((steps - low) / max(high - low, 1.0), 0, 1)[..., None]
        panel.imshow(colors * (1 - 0.75 * depth), origin="lower", extent=extent, interpolation="nearest")
        panel.scatter(*dataset.root.values.T, s=18, color="black", edgecolors="white", linewidths=0.6, zorder=3)
        panel.set_title(f"{program}: dimension {_dimension(ends):.2f}")
        panel.set(xlabel="Re $z$ of the start", xlim=extent[:2], ylim=extent[2:], xticks=range(-2, 3))
        panel.grid(visible=False)
    panels[0].set_ylabel("Im $z$ of the start")
    figure.set_label(
        "The root of z³ = 1 (dots) that each start reaches, by Newton's iteration and by gradient descent on "
        "|z³ − 1|²/2; the darker, the more steps, grey where they did not suffice. The dimension of the borders is "
        "that of counted boxes."
    )
    return {"roots": figure}


roots = Part(
    Roots,
    {
        "x": Variable(("x",), "", "real part of the start"),
        "y": Variable(("y",), "", "imaginary part of the start"),
        "program": Variable(("program",), "", "what is iterated"),
        "root": Variable(("which", "coordinate"), "", "roots of z^3 = 1"),
        "disk": Variable(("y", "x"), "", "whether the start is in the disk that fits the window"),
        "reached": Variable(("program", "y", "x"), "", "root within 1e-3 of the end; -1 none"),
        "reached_turned": Variable(("program", "y", "x"), "", "the same from the start turned by 120 degrees"),
        "status": Variable(("program", "y", "x"), "", "0 converged, 1 out of steps, 2 diverged, 3 not finite"),
        "steps": Variable(("program", "y", "x"), "", "steps taken"),
    },
    "host",
    run_roots,
    figures=figures_of_roots,
    claims={"basins-turn-into-one-another": _turned, "newton-borders-are-fractal": _fractal},
    doc="Which root of z^3 = 1 does each start reach?",
)

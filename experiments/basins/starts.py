"""Which minimum does each start reach, by solver?"""

from typing import Literal

import numpy as np
import pydantic

from experiments.basins import FILLS, NOT_A_MINIMUM, NOWHERE, cells, outer_edges
from jaxcalc import lab, style
from jaxcalc.lab import Finding, NotJudged, Variable, above, between, jax, jnp, less, over

kind = "compiled"

_CONVERGED = 0
Method = Literal["gradient-flow", "gradient-descent", "momentum", "newton", "bfgs", "trust-region"]


class Config(lab.Config):
    landscape: Literal["himmelblau", "six-hump-camel", "cube-roots"] = "himmelblau"
    """the surface"""
    method: Method = "trust-region"
    """the solver; gradient flow is gradient descent in very short steps"""
    resolution: int = pydantic.Field(81, ge=4)
    """starts along each axis"""
    max_steps: int = pydantic.Field(2000, ge=1)
    """where a lane ends at the latest; gradient flow takes ten times as many"""


VARIABLES = {
    "x": Variable(("x",), "", "first coordinate of the start"),
    "y": Variable(("y",), "", "second coordinate of the start"),
    "point": Variable(("stationary", "coordinate"), "", "stationary points, the minima first"),
    "minimum": Variable(("stationary",), "", "whether it is a minimum"),
    "reached": Variable(("y", "x"), "", "stationary point within 1e-3 of the end; -1 none"),
    "nearest": Variable(("y", "x"), "", "minimum nearest to the start"),
    "status": Variable(("y", "x"), "", "0 converged, 1 out of steps, 2 diverged, 3 not finite, 4 stalled"),
    "steps": Variable(("y", "x"), "", "steps taken"),
}


def _solver(method, largest):
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


def run(config, key):
    from jaxcalc import minimize
    from jaxcalc.functions.landscapes import LANDSCAPES

    land = LANDSCAPES[config.landscape]
    at = shared(config)
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


def shared(config):
    from jaxcalc.functions.landscapes import LANDSCAPES

    land = LANDSCAPES[config.landscape]
    left, right, bottom, top = land.window
    return {
        "x": cells(left, right, config.resolution),
        "y": cells(bottom, top, config.resolution),
        "point": land.stationary,
        "minimum": np.arange(len(land.stationary)) < land.num_minima,
    }


def _shares(data):
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


def _judged_shares(dataset):
    """Whether every start has an end and a status, and the shares by method."""
    data = over(dataset, "method")
    ended = between(data.reached, -1, len(data.minimum) - 1) & between(data.nearest, 0, len(data.minimum) - 1)
    return ended & above(data.status, 0) & between(data.minimum, 0, 1), _shares(data)


def _nearest(dataset):
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


def _saddles(dataset):
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


def _draw_points(panel, dataset):
    least = dataset.minimum.values.astype(bool)
    for chosen, look in ((least, {"marker": "o", "s": 16}), (~least, {"marker": "x", "s": 14, "linewidths": 0.9})):
        points = dataset.point.values[chosen]
        edge = {"edgecolors": "white", "linewidths": 0.6} if look["marker"] == "o" else {}
        color = "black" if look["marker"] == "o" else "#BBBBBB"
        panel.scatter(points[:, 0], points[:, 1], color=color, zorder=3, **{**look, **edge})


def figures(dataset):
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Patch

    data = over(dataset, "method")
    if set(data.reached.dims) != {"method", "x", "y"}:
        return {}
    number, methods = int(data.minimum.sum()), [str(m) for m in data["method"].values]
    colors = ListedColormap([NOWHERE, *FILLS[:number], NOT_A_MINIMUM])
    extent = outer_edges(data)
    columns = min(3, len(methods))
    rows = -(-len(methods) // columns)
    aspect = (extent[3] - extent[2]) / (extent[1] - extent[0])
    height = rows * (6.5 / columns * aspect + 0.4) + 0.6
    alike = {"squeeze": False, "sharex": True, "sharey": True, "letters": False}
    figure, panels = style.subplots(rows, columns, width="page", height=height, **alike)
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
        panel.set_title(f"{style.method(method)['label']}: {100 * shares[method]['nearest']:.0f}% nearest", fontsize=8)
        panel.grid(visible=False)
        panel.set(xlim=extent[:2], ylim=extent[2:])
    for panel in panels[-1]:
        panel.set_xlabel("$x$ of the start")
    for panel in panels[:, 0]:
        panel.set_ylabel("$y$ of the start")
    handles = [Patch(color=FILLS[i], label=f"minimum {i + 1}") for i in range(number)]
    handles.append(Patch(color=NOT_A_MINIMUM, label="saddle or maximum"))
    handles.append(Patch(facecolor=NOWHERE, edgecolor="#999999", linewidth=0.6, label="none"))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), columnspacing=1.0, handlelength=1.2)
    figure.set_label(
        "The stationary point that each start reaches, by solver; dots are minima, crosses saddles and maxima. The "
        "titles tell how many starts reach the minimum nearest to them."
    )
    return {"basins": figure}


def tables(dataset):
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


claims = {"descent-reaches-the-nearest-minimum": _nearest, "newton-is-drawn-to-saddles": _saddles}

"""Which root of z^3 = 1 does each start reach?"""

import numpy as np
import pydantic

from experiments.basins import FILLS, NOWHERE, cells, outer_edges
from jaxcalc import lab, style
from jaxcalc.lab import Finding, Variable, between, close, jax, jnp, less

kind = "host"


class Config(lab.Config):
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


VARIABLES = {
    "x": Variable(("x",), "", "real part of the start"),
    "y": Variable(("y",), "", "imaginary part of the start"),
    "program": Variable(("program",), "", "what is iterated"),
    "root": Variable(("which", "coordinate"), "", "roots of z^3 = 1"),
    "disk": Variable(("y", "x"), "", "whether the start is in the disk that fits the window"),
    "reached": Variable(("program", "y", "x"), "", "root within 1e-3 of the end; -1 none"),
    "reached_turned": Variable(("program", "y", "x"), "", "the same from the start turned by 120 degrees"),
    "status": Variable(("program", "y", "x"), "", "0 converged, 1 out of steps, 2 diverged, 3 not finite"),
    "steps": Variable(("program", "y", "x"), "", "steps taken"),
}
_PROGRAMS = ("Newton's iteration", "gradient descent")


def run(config, key):
    from jaxcalc import minimize
    from jaxcalc.functions.landscapes import LANDSCAPES
    from jaxcalc.solvers import gradient_descent, newton

    left, right, bottom, top = LANDSCAPES["cube-roots"].window
    # The border along the negative axis would lie between boxes of every size, and none would count it.
    shift = (top - bottom) / 24
    x, y = cells(left, right, config.resolution), cells(bottom - shift, top - shift, config.resolution)
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


def _dimensions_by_scale(reached: np.ndarray) -> tuple[float, float]:
    """The least and the largest exponent between neighbouring sizes of boxes: how far the dimension can be trusted."""
    local = np.diff(np.log(_boxes(reached)[1])) / np.diff(np.log(_boxes(reached)[0]))
    return float(local.min()), float(local.max())


def _turned(dataset):
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


def _fractal(dataset):
    newton, descent = (_dimension(dataset.reached.sel(program=p).values) for p in _PROGRAMS)
    return Finding(
        between(dataset.reached, -1, 2) & between(newton, 1.2, 1.6) & close(descent, 1.0, 0.15),
        measured=f"{newton:.2f} and {descent:.2f}",
        figure="roots",
    )


def figures(dataset):
    from matplotlib.colors import to_rgb

    figure, panels = style.subplots(1, 2, width="page", height=3.6, sharex=True, sharey=True, letters=False)
    extent = outer_edges(dataset)
    for panel, program in zip(panels, map(str, dataset.program.values)):
        one = dataset.sel(program=program)
        ends, steps = one.reached.values, one.steps.values.astype(float)
        colors = np.array([to_rgb(c) for c in FILLS[:3]] + [to_rgb(NOWHERE)])[np.where(ends >= 0, ends, 3)]
        # The more steps a start takes, the darker its cell.
        low, high = np.quantile(steps, (0.02, 0.99))
        depth = np.clip((steps - low) / max(high - low, 1.0), 0, 1)[..., None]
        panel.imshow(colors * (1 - 0.75 * depth), origin="lower", extent=extent, interpolation="nearest")
        panel.scatter(*dataset.root.values.T, s=18, color="black", edgecolors="white", linewidths=0.6, zorder=3)
        low, high = _dimensions_by_scale(ends)
        panel.set_title(f"{program}\ndimension {_dimension(ends):.2f} ({low:.2f} to {high:.2f} by scale)")
        panel.set(xlabel="Re $z$ of the start", xlim=extent[:2], ylim=extent[2:], xticks=range(-2, 3))
        panel.grid(visible=False)
    panels[0].set_ylabel("Im $z$ of the start")
    figure.set_label(
        "The root of z³ = 1 (dots) that each start reaches, by Newton's iteration and by gradient descent on "
        "|z³ − 1|²/2; the darker, the more steps, grey where they did not suffice. The dimension of the borders is "
        "that of counted boxes."
    )
    return {"roots": figure}


claims = {"basins-turn-into-one-another": _turned, "newton-borders-are-fractal": _fractal}

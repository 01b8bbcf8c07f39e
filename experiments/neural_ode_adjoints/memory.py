"""What does each adjoint of an ODE solve keep in memory as steps are added?"""

from typing import Literal

import numpy as np
import pydantic

from jaxcalc import lab, style
from jaxcalc.lab import Finding, NotJudged, Variable, close, equal, first, jax, jnp, less, over, params

kind = "host"

Keeping = Literal["checkpointed", "all checkpoints", "two checkpoints", "backsolve", "direct"]


class Config(lab.Config):
    """The gradient of a flow's end in a perceptron's weights, by one adjoint and a number of equal steps."""

    adjoint: Keeping = "checkpointed"
    """all and two checkpoints are the checkpointed adjoint with that many states kept; two make it recompute a lot"""
    num_steps: int = pydantic.Field(default=32, gt=0)
    """equal steps over the unit of time"""
    solver: Literal["euler", "heun", "bosh3", "rk4", "tsit5", "dopri5", "dopri8"] = "rk4"
    """the Runge-Kutta method"""
    dimension: int = pydantic.Field(default=4, gt=0)
    """size of a state"""
    hidden: int = pydantic.Field(default=32, gt=0)
    """width of the perceptron's hidden layer"""
    batch: int = pydantic.Field(default=256, gt=0)
    """states carried along"""


VARIABLES = {
    "temporaries": Variable((), "B", "temporary memory of the compiled gradient"),
    "outputs": Variable((), "B", "memory of its outputs"),
    "gradient": Variable(("parameter",), "", "gradient in the field's weights"),
}


def run(config, key):
    """Compile the gradient, read XLA's account of its memory, and take it once."""
    from jaxcalc import models
    from jaxcalc.programs import compiled

    checkpoints = {"all checkpoints": config.num_steps, "two checkpoints": 2}.get(config.adjoint)
    field = models.mlp_field(config.dimension, config.hidden, num_hidden=1)
    model = models.neural_ode(
        field,
        solver=config.solver,
        num_steps=config.num_steps,
        adjoint="checkpointed" if config.adjoint.endswith("checkpoints") else config.adjoint,
        checkpoints=checkpoints,
    )
    init_key, state_key = jax.random.split(key)
    params, states = field.init(init_key), jax.random.normal(state_key, (config.batch, config.dimension), float)
    gradient = jax.grad(lambda params, states: jnp.mean(model.apply(params, states, jnp.array([0.0, 1.0]))[-1] ** 2))
    program = compiled.executable(gradient, params, states)
    leaves = jax.tree.leaves(program(params, states))
    return {
        "temporaries": np.asarray(program.temporaries),
        "outputs": np.asarray(program.outputs),
        "gradient": np.concatenate([np.ravel(leaf) for leaf in leaves]),
    }


def _gaps(dataset):
    """The relative distance of each adjoint's gradient from the direct one's, or None where that was not taken."""
    if "adjoint" not in dataset.dims or "direct" not in dataset.adjoint:
        return None
    direct = dataset.gradient.sel(adjoint="direct")
    return ((dataset.gradient - direct) ** 2).sum("parameter") ** 0.5 / (direct**2).sum("parameter") ** 0.5


_LOOKS = {
    "all checkpoints": ("checkpointed", {"linestyle": "-.", "marker": "D"}),
    "two checkpoints": ("checkpointed", {"linestyle": ":", "marker": "v"}),
}


def _look(adjoint):
    """The line of an adjoint."""
    name, changes = _LOOKS.get(str(adjoint), (str(adjoint), {}))
    return style.method(name, **changes, label=str(adjoint))


def figures(dataset):
    """Memory against steps, and the distance between backsolve's gradient and the discrete one."""
    if "num_steps" not in dataset.dims or "adjoint" not in dataset.dims:
        return {}
    data = first(dataset, "adjoint", "num_steps", "parameter")
    gaps = _gaps(data)
    figure, axes = style.subplots(1, 2, width="page", height=2.9, letters=False)
    figure.set_label("The gradient through a Runge-Kutta solve: its memory, and its distance from the direct gradient.")
    steps, memory = data.num_steps.values, (data.temporaries + data.outputs) / 1e6
    looks = {str(adjoint): _look(adjoint) for adjoint in data.adjoint.values}
    common = {"x": "num_steps", "hue": "adjoint", "looks": looks, "log": "xy", "xlabel": "Runge-Kutta steps"}
    style.chart(memory, axes=axes[0], legend="best", ylabel="temporaries + outputs, MB", **common)
    if gaps is None or "backsolve" not in data.adjoint:
        axes[1].set_axis_off()
        return {"memory": figure}
    others = gaps.where(gaps > 0).sel(adjoint=gaps.adjoint != "direct")
    style.chart(others, axes=axes[1], legend=None, ylabel="gap to the direct gradient", **common)
    gap = gaps.sel(adjoint="backsolve").values
    order = _order(params(data)["solver"])
    shown = steps[gap > 1e-13]
    if len(shown):
        axes[1].loglog(shown, gap[0] * (steps[0] / shown) ** order, **style.THEORY, label=f"order {order}")
    axes[1].axhline(np.finfo(float).eps, color="#999999", linewidth=0.7)
    axes[1].annotate("rounding", (steps[0], np.finfo(float).eps), xytext=(0, 3), textcoords="offset points", ha="left")
    axes[1].legend()
    return {"memory": figure}


def _order(solver):
    """The order of a Runge-Kutta method."""
    from jaxcalc.transforms.flow_solvers import SOLVER_ORDERS

    return SOLVER_ORDERS[solver]


def tables(dataset):
    """Megabytes by adjoint and steps."""
    if "num_steps" not in dataset.dims or "adjoint" not in dataset.dims:
        return {}
    total = (dataset.temporaries + dataset.outputs) / 1e6
    rows = [
        {"adjoint": str(a)}
        | {f"{n} steps": f"{float(total.sel(adjoint=a, num_steps=n)):.2f}" for n in dataset.num_steps.values}
        for a in dataset.adjoint.values
    ]
    return {"Memory of the gradient, MB": rows}


def _by_steps(dataset):
    """The dataset over adjoint and steps, other axes at their first, steps ascending."""
    return first(dataset, "adjoint", "num_steps", "parameter").sortby("num_steps")


def _constant_memory(dataset):
    """Bytes by steps; through the solver the exponent is read where steps outweigh what does not grow."""
    dataset = _by_steps(dataset)
    steps = dataset.num_steps.values
    if len(steps) < 3 or steps[-1] < 16 * steps[0]:
        raise NotJudged("it takes three numbers of steps or more, over a factor of 16")
    total = dataset.temporaries + dataset.outputs
    back, kept = (total.sel(adjoint=a).values for a in ("backsolve", "all checkpoints"))
    exponent = np.diff(np.log(kept[-2:])) / np.diff(np.log(steps[-2:]))
    return Finding(
        equal(back, back[0]) & close({"solver_exponent": exponent}),
        measured=f"backsolve {back.min():.0f} to {back.max():.0f} bytes; all checkpoints {kept[0]:.0f} to "
        f"{kept[-1]:.0f}, exponent {exponent[0]:.3f} between the largest numbers of steps",
        figure="memory",
    )


def _reverse_ode(dataset):
    """How fast the continuous gradient nears the discrete one, in double precision and clear of rounding."""
    dataset = _by_steps(dataset)
    gaps = _gaps(dataset)
    if gaps is None or dataset.gradient.dtype != np.float64:
        raise NotJudged("it takes gradients in double precision, backsolve's beside the solver's own")
    steps, gap = dataset.num_steps.values, gaps.sel(adjoint="backsolve").values
    clear = ~(gap <= 1e-12)  # below it rounding is what is seen
    solver = str(over(dataset, "solver").solver.values[0])
    if clear.sum() < 2:
        raise NotJudged("fewer than two gaps are clear of rounding")
    order = -np.polyfit(np.log(steps[clear]), np.log(gap[clear]), 1)[0]
    return Finding(
        close(order, _order(solver), 0.3),
        limits=less(1e-9, gap[0]),
        measured=f"order {order:.2f} of {_order(solver)}",
        figure="memory",
        note=f"It is the exact flow's gradient, not the solver's: {gap[0]:.1e} apart at {steps[0]} steps.",
    )


claims = {"adjoint-constant-memory": _constant_memory, "adjoint-gradient-by-reverse-ode": _reverse_ode}

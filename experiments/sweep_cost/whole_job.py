"""What does a sweep cost: all lanes in one program, one program called for each point, or a compilation for each point?

The job is the same for all: gradient descent on real data, every learning rate from every random start. Timed is the
whole job in a process that has imported what it needs and compiled nothing: tracing, compiling, running, and, for the
lab's own ``vmap:`` sweep, also planning, writing the trial, joining the dataset and reporting.
"""

from typing import Literal

import numpy as np
import pydantic

from experiments.sweep_cost import training
from jaxcalc import lab, measure, style
from jaxcalc.cache import empty_cache
from jaxcalc.lab import Variable, jax

kind = "timed"
dtype = "float32"


class Config(lab.Config):
    method: Literal["vmapped by the lab", "one traced program", "one program per point"] = "vmapped by the lab"
    """How the points are run."""
    problem: training.Problem = "house prices"
    """What is trained."""
    num_rates: int = pydantic.Field(64, ge=1)
    """Learning rates, from 0.001 to 0.3, evenly in logarithms."""
    num_seeds: int = pydantic.Field(16, ge=1)
    """Random starts for each learning rate."""
    num_steps: int = pydantic.Field(1000, ge=1)
    """Gradient steps for each point."""
    attempt: int = 0
    """A repetition's number."""


VARIABLES = {
    "seconds": Variable((), "s", "time of the whole job", measured=True),
    "points": Variable((), "", "points of the sweep", measured=False),
    "loss": Variable(("rate", "start"), "", "training loss after the last step", measured=False),
}


def _rates(config):
    return np.geomspace(1e-3, 0.3, config.num_rates).tolist()


def _params(config):
    return {"problem": config.problem, "num_steps": config.num_steps}


def _by_the_lab(config):
    sweep = {"vmap": {"learning_rate": _rates(config), "seed": {"range": config.num_seeds}}}
    document = {"experiment": "sweep_cost.training", "params": _params(config), "sweep": sweep}
    with empty_cache() as folder:  # the compilation belongs to the job
        return lab.run(document, out=folder, progress=False).dataset.loss.values


def _one_program(config):
    base = training.Config(**_params(config))
    call = jax.jit(lambda rate, key: training.run(base.model_copy(update={"learning_rate": rate}), key)["loss"])
    return np.array([[call(rate, jax.random.key(seed)) for seed in range(config.num_seeds)] for rate in _rates(config)])


def _program_per_point(config):
    def point(rate, seed):
        closed_over = training.Config(learning_rate=rate, **_params(config))
        return jax.jit(lambda key: training.run(closed_over, key)["loss"])(jax.random.key(seed))

    return np.array([[point(rate, seed) for seed in range(config.num_seeds)] for rate in _rates(config)])


_METHODS = {
    "vmapped by the lab": _by_the_lab,
    "one traced program": _one_program,
    "one program per point": _program_per_point,
}


def _prepare(config):
    """Everything that is paid once in a process, whatever is run in it: imports, the data, JAX's own lazy loading."""
    import h5netcdf  # noqa: F401
    import jinja2  # noqa: F401
    import xarray  # noqa: F401

    import jaxcalc.lab.join
    import jaxcalc.lab.report
    import jaxcalc.lab.runner  # noqa: F401

    training.load_problem(config.problem)
    jax.jit(lambda x: x + 1)(0)


def run(config, key):
    _prepare(config)
    loss, seconds = measure.once(lambda: _METHODS[config.method](config))
    return {"seconds": np.array(seconds), "loss": np.asarray(loss, float), "points": np.array(loss.size)}


def _by_method(dataset):
    """Seconds of every finished attempt and the loss of its first one, by method."""
    if "method" not in dataset.coords:
        return {}
    methods = dataset.method.broadcast_like(dataset.seconds).values.ravel()
    seconds = dataset.seconds.values.ravel()
    losses = dataset.loss.values.reshape(len(seconds), *dataset.loss.shape[dataset.seconds.ndim :])
    found = {}
    for method in dict.fromkeys(methods.tolist()):
        mine = (methods == method) & np.isfinite(seconds)
        if mine.any():
            found[str(method)] = (seconds[mine], losses[mine][0])
    return found


def tables(dataset):
    found = _by_method(dataset)
    if not found:
        return {}
    first_seconds, first_loss = next(iter(found.values()))
    rows = [
        {
            "method": method,
            "seconds (median)": float(np.median(seconds)),
            "slowest": float(seconds.max()),
            "attempts": len(seconds),
            "times the first": float(np.median(seconds) / np.median(first_seconds)),
            "largest relative difference of loss": float(np.nanmax(np.abs(loss / first_loss - 1))),
        }
        for method, (seconds, loss) in found.items()
    ]
    return {f"A sweep of {int(dataset.points.max())} points, whole job": rows}


def figures(dataset):
    seconds = {method: values for method, (values, _) in _by_method(dataset).items()}
    if not seconds:
        return {}
    figure, axis = style.subplots(width=5.0, height=1.6)
    colors = [style.COLORS[name] for name in ("blue", "orange", "vermilion")]
    best = float(np.median(next(iter(seconds.values()))))
    for i, (values, color) in enumerate(zip(seconds.values(), colors)):
        middle = float(np.median(values))
        axis.plot(values, np.full(len(values), i), "|", color=color, markersize=10, markeredgewidth=1.2)
        axis.plot(middle, i, "o", color=color, markersize=6)
        text = f"{middle:.2g} s" if i == 0 else f"{middle:.3g} s, {middle / best:.3g} times the first"
        axis.annotate(text, (values.max(), i), xytext=(8, 0), textcoords="offset points", va="center", fontsize=7.5)
    style.name_rows(axis, seconds)
    axis.set(xscale="log", xlim=(best / 2, 60 * max(values.max() for values in seconds.values())))
    axis.set_xlabel("seconds for the whole job")
    figure.set_label(f"{int(dataset.points.max())} points of one training job; ticks are single attempts.")
    return {"whole_job": figure}

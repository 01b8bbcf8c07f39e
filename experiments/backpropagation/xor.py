"""Does a 2-4-1 network learn XOR, from one start and from a thousand?"""

import numpy as np
import pydantic

from jaxcalc import lab, style
from jaxcalc.lab import Finding, Variable, close, jax, jnp, xarray

kind = "host"


class Config(lab.Config):
    starts: int = pydantic.Field(1000, ge=43)
    """seeds 0, 1, ... of the starting weights; 42 is among them"""
    epochs: int = pydantic.Field(10_000, ge=1)
    """steps of gradient descent"""
    rate: float = pydantic.Field(1.0, gt=0)
    """length of a step, in multiples of the gradient"""


VARIABLES = {
    "sample": Variable(("sample",), "", "the two inputs"),
    "target": Variable(("sample",), "", "exclusive or of the inputs"),
    "start": Variable(("start",), "", "seed of the starting weights"),
    "output": Variable(("start", "sample"), "", "the network's output after training"),
    "final_loss": Variable(("start",), "nat", "cross-entropy after training"),
    "final_gradient": Variable(("start",), "nat", "norm of the gradient after training"),
    "epoch": Variable(("epoch",), "", "steps of gradient descent"),
    "shown": Variable(("shown",), "", "seeds whose training is kept"),
    "loss": Variable(("shown", "epoch"), "nat", "cross-entropy along training"),
}


def run(config, key):
    from jaxcalc.engines.two_layer_backprop import backpropagate, forward, listing_start
    from jaxcalc.functions.datasets import xor

    x, y = map(jnp.asarray, xor())

    def train(parameters):
        def step(p, _):
            found = backpropagate(p, x, y, hidden="relu")
            return jax.tree.map(lambda a, g: a - config.rate * g, p, found.gradients), found.value

        last, losses = jax.lax.scan(step, parameters, None, length=config.epochs)
        found = backpropagate(last, x, y, hidden="relu")
        size = jnp.sqrt(sum(jnp.sum(g**2) for g in found.gradients))
        return forward(last, x, hidden="relu").a2[:, 0], found.value, size, losses

    starts = [listing_start(seed) for seed in range(config.starts)]
    outputs, value, size, losses = jax.jit(jax.vmap(train))(jax.tree.map(lambda *leaves: jnp.stack(leaves), *starts))
    kept = np.unique(np.geomspace(1, config.epochs, 60).astype(int)) - 1
    shown = np.array([42, *range(12)])
    return {
        "sample": np.array(["00", "01", "10", "11"]),
        "target": y[:, 0],
        "start": np.arange(config.starts),
        "output": outputs,
        "final_loss": value,
        "final_gradient": size,
        "epoch": kept + 1,
        "shown": shown,
        "loss": np.asarray(losses)[np.ix_(shown, kept)],
    }


def _solved(dataset):
    """1 where a start ends at outputs that round to the targets, else 0; NaN where one is NaN."""
    wrong = abs(np.round(dataset.output.values) - dataset.target.values)
    return 1.0 - np.minimum(wrong.max(axis=-1), 1.0)


def _judge_starts(dataset):
    solved = _solved(dataset)
    failed = dataset.output.values[solved == 0]
    constant = (np.ptp(failed, axis=1) < 1e-2).mean() if len(failed) else 0.0
    share, others = f"{100 * solved.mean():.1f} %", f"{100 * constant:.0f} % of the others"
    return Finding(
        close(dataset.output.sel(start=42), dataset.target, 0.01),
        limits=~close({"success_rate": solved.mean()}),
        measured=f"{share} of {solved.size} starts; {others} end at a constant",
    )


def figures(dataset):
    figure, (left, right) = style.subplots(1, 2, width="page", height=2.7)
    solved = dict(zip(dataset.start.values.tolist(), _solved(dataset) == 1))
    shown = dataset.shown.values.tolist()
    color = {True: style.COLORS["blue"], False: style.COLORS["vermilion"]}
    style.chart(
        dataset.loss,
        "epoch",
        hue="shown",
        looks={seed: {"color": color[solved[seed]], "linewidth": 2.4 if seed == 42 else 0.9} for seed in shown},
        log="xy",
        axes=left,
        legend=None,
        marker="",
    )
    for place, text in ((True, "solved"), (False, "not solved")):
        left.plot([], [], color=color[place], label=text)
    left.legend(*(found[-2:] for found in left.get_legend_handles_labels()), loc="lower left")
    ends = np.sort(dataset.final_loss.values)
    share = xarray.DataArray(100 * np.arange(1, ends.size + 1) / ends.size, {"end": ends}, ("end",))
    style.chart(
        share,
        log="x",
        xlabel="cross-entropy at the end (nat)",
        ylabel="starts that end below (%)",
        ylim=(0, 102),
        axes=right,
        marker="",
    )
    right.axvline(np.log(2), **style.THEORY)
    right.annotate("constant output", (np.log(2), 20), (-4, 0), textcoords="offset points", ha="right")
    figure.set_label(
        f"A 2-4-1 network on XOR: seed 42 (thick) and twelve others, and where {ends.size} starts end. Dashed: log 2, "
        "the loss of a constant output of one half."
    )
    return {"xor": figure}


claims = {
    "xor-seed-42-solved": lambda dataset: close(dataset.output.sel(start=42)),
    "xor-solved-in-general": _judge_starts,
}

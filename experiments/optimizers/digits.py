"""How do the methods train a classifier of digits on mini-batches, and how does it generalise?"""

from typing import Any, Literal

import numpy as np
import pydantic

from experiments.optimizers import Method, draw_batch, held_out, solver_named, split_digits
from jaxcalc import lab, style
from jaxcalc.lab import Finding, NotJudged, Swept, Variable, above, below, jax, jnp, over

kind = "compiled"
dtype = "float32"

Task = Literal["network", "linear"]
_EVERY = 10


class Config(lab.Config):
    task: Task = "network"
    """one hidden layer of tanh with cross-entropy, or linear least squares on indicators of the ten classes"""
    unevenness: Swept[float] = pydantic.Field(0.0, ge=0)
    """the pixels have gains from 10^-unevenness to 10^unevenness; 0 for the images as they are"""
    method: Method = "adam"
    """method of minimisation"""
    rate: Swept[float] = pydantic.Field(0.1, gt=0)
    """learning rate of plain descent; momentum takes a tenth, its equal in the long run, and so does Adam"""
    samples: int = pydantic.Field(400, ge=10, le=1700)
    """images to train on, drawn by the seed; the others are held out"""
    batch: int = pydantic.Field(32, ge=1)
    """images in a mini-batch"""
    num_steps: int = pydantic.Field(400, ge=10, multiple_of=_EVERY)
    """steps taken"""
    width: int = pydantic.Field(32, ge=1)
    """hidden units of the network"""
    weight_decay: float = pydantic.Field(0.1, ge=0)
    """of AdamW"""


VARIABLES = {
    "step": Variable(("step",), "", "step"),
    "batch_loss": Variable(("step",), "", "loss of the step's mini-batch"),
    "loss": Variable((), "", "loss of all training images at the end"),
    "held_out_loss": Variable((), "", "loss of the images held out, at the end"),
    "diverged": Variable((), "", "whether that loss is not finite"),
    "held_out_error": Variable((), "", "share of them that is misread"),
}


def _classifier(config):
    """A model of the digits, its weights, and the loss of a batch."""
    from jaxcalc.models import classifier

    model = classifier.make("dense", width=config.width, depth=1 if config.task == "network" else 0)
    # One start for all lanes, drawn on the host: compiling random weights takes longer than all of the training.
    with jax.ensure_compile_time_eval():
        start = model.init(jax.random.key(0))
    if config.task == "network":
        return model, start, classifier.loss(model)
    squares = lambda scores, labels: jnp.sum((scores - jax.nn.one_hot(labels, 10)) ** 2, 1)
    return model, start, lambda params, *batch: jnp.mean(squares(model.apply(params, batch[0]), batch[1])) / 2


def run(config, key):
    from jaxcalc.solvers import minimize

    # Spread over the image so that neighbours differ.
    gains = 10.0 ** (config.unevenness * np.linspace(-1, 1, 64, dtype=np.float32)[37 * np.arange(64) % 64])
    model, start, loss = _classifier(config)
    of_split, of_batches = jax.random.split(key)
    train, others = split_digits(of_split, config.samples, gains)
    rate = config.rate if config.method == "sgd" else config.rate / 10
    solution = minimize(
        loss,
        start,
        *train,
        method=solver_named(config.method, rate, config.weight_decay),
        batches=draw_batch(train, config.batch),
        key=of_batches,
        max_steps=config.num_steps,
        history=f"every {_EVERY}",
    )
    assert solution.history is not None
    lost = loss(solution.x, *others)
    return {
        "batch_loss": solution.history["value"],
        "loss": solution.value,
        "held_out_loss": lost,
        "diverged": ~jnp.isfinite(lost),
        "held_out_error": held_out(model, solution.x, others),
    }


def _squared(dataset):
    """The dataset over all of task, method, unevenness, rate and seed, whichever of these a sweep holds fixed."""
    axes = ("task", "method", "unevenness", "rate", "seed")
    return over(dataset, *axes).transpose(*axes, ...)


def _by_method(dataset, task, unevenness):
    """The runs of a task on even or uneven images by method, over rates and seeds."""
    one = dataset.isel(task=task, unevenness=unevenness)
    return {str(name): one.isel({"method": i}) for i, name in enumerate(one["method"].values)}


def _best_rate(runs):
    """Where the mean loss on held-out images is least."""
    loss = runs.held_out_loss.mean("seed", skipna=False).values
    return int(np.where(np.isfinite(loss), loss, np.inf).argmin())


def _comparable(full):
    """Whether momentum meets Adam on images as they are and on others, over seeds enough."""
    methods, uneven = set(map(str, full["method"].values)), full.unevenness.values
    return {"momentum", "adam"} <= methods and full.sizes["seed"] >= 4 and uneven.size > 1 and 0 in uneven


def _crossed(run):
    """The held-out loss by seed, each at the rate that does best on the other half of the seeds."""
    loss = run.held_out_loss.where(~run.diverged, np.inf).transpose("rate", "seed").values
    if np.isnan(loss).any():
        raise NotJudged("held-out losses are missing")
    found, even = np.empty(loss.shape[1]), np.arange(loss.shape[1]) % 2 == 0
    for half in (even, ~even):
        found[half] = loss[loss[:, ~half].mean(1).argmin()][half]
    return found


def _contests(full):
    """Momentum's loss on held-out images less Adam's: mean and standard error over splits, by unevenness."""
    found = {}
    for place, unevenness in enumerate(full.unevenness.values):
        runs = _by_method(full, 0, place)
        apart = _crossed(runs["momentum"]) - _crossed(runs["adam"])
        found[float(unevenness)] = float(apart.mean()), float(apart.std(ddof=1) / len(apart) ** 0.5)
    return found


def _generalises(dataset):
    full = _squared(dataset)
    if not _comparable(full):
        raise NotJudged("needs momentum and Adam on even and uneven pixels, over four seeds or more")
    contests = _contests(full)
    score = {unevenness: mean / error for unevenness, (mean, error) in contests.items()}
    if abs(score[0.0]) < 3:
        raise NotJudged("on images as they are the two lie within three standard errors; more seeds may part them")
    return Finding(
        below(score.pop(0.0), -3.0),
        limits=above(np.max(list(score.values())), 3.0),
        measured="held-out loss with momentum less that with Adam: "
        + ", ".join(f"{mean:+.4f} ± {error:.4f} (unevenness {u:g})" for u, (mean, error) in contests.items()),
        figure="generalisation",
    )


def figures(dataset):
    full = _squared(dataset)
    names = [str(name) for name in full.task.values]
    figures = {f"training-{name}": _draw_task(name, _by_method(full, i, 0)) for i, name in enumerate(names)}
    return figures | ({"generalisation": _draw_contests(_contests(full))} if _comparable(full) else {})


_UNITS = {"network": "cross-entropy (nats)"}


def _draw_task(task, runs):
    """Training at the best rate, and the loss on held-out images against the rate."""
    unit = _UNITS.get(task, "squared error")
    ways = {name: one.isel(rate=_best_rate(one)).batch_loss.isel(step=slice(1, None)) for name, one in runs.items()}
    held = {name: one.held_out_loss.where(~one.diverged) for name, one in runs.items()}
    rates = {name: one.rate.values * (1 if name == "sgd" else 0.1) for name, one in runs.items()}
    figure, (left, right) = style.subplots(1, 2, width="page", height=3.1)
    smooth = {name: way.rolling(step=3, center=True, min_periods=1).mean() for name, way in ways.items()}
    style.chart(
        smooth,
        "step",
        axes=left,
        legend="below",
        log="y",
        xlabel="gradients of a mini-batch",
        ylabel=f"mini-batch: {unit}",
        looks={name: {"marker": ""} for name in smooth},
    )
    for name, loss in held.items():
        at = loss.assign_coords(rate=rates[name])
        # Nesterov's line lies on momentum's nearly everywhere.
        wide: Any = {"markersize": 5.5} if name == "momentum" and "nesterov" in runs else {}
        style.chart({name: at}, "rate", axes=right, legend=None, log="xy", ylabel=f"held out: {unit}", **wide)
    middle = [loss.median("seed") for loss in held.values()]
    least, most = (float(end(loss)) for end, loss in ((np.nanmin, middle), (np.nanmax, middle)))
    right.set(xlabel="learning rate", ylim=(0.9 * least, min(1.1 * most, 5 * least)))
    left.set_title("Training, each at its best rate")
    right.set_title("After training")
    for panel in (left, right):
        low, high = panel.get_ylim()
        ticks = [tick for tick in (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0) if low <= tick <= high]
        style.ticks(panel.yaxis, ticks)
    figure.set_label(
        "A classifier of digits trained on mini-batches: medians over random splits and batches, bands between the "
        "quartiles; training in means of three. What lies above the upper edge diverged or hardly learned."
    )
    return figure


def _draw_contests(contests):
    """Momentum against Adam by unevenness."""
    figure, panel = style.subplots(width=4.2, height=2.7)
    means, errors = np.array(list(contests.values())).T
    panel.errorbar(list(contests), means, 2 * errors, color=style.COLORS["black"], marker="o", capsize=3)
    panel.axhline(0, color=style.COLORS["grey"], linewidth=0.8)
    panel.set(
        xlabel="unevenness of the pixels (decades each way)", ylabel="held-out loss with momentum\nless that with Adam"
    )
    low, high = panel.get_ylim()
    panel.set_ylim(min(low, -0.15 * high), high)
    panel.annotate("Adam better", (0.02, 0.93), xycoords="axes fraction", fontsize=7.5)
    panel.annotate("momentum better", (0.98, 0.03), xycoords="axes fraction", fontsize=7.5, ha="right")
    figure.set_label(
        "A linear classifier of digits, with momentum and with Adam, each at the rate that is best on other splits: on "
        "images as they are momentum generalises better, on those of a sensor whose pixels differ Adam does. Paired "
        "over random splits; bars are two standard errors."
    )
    return figure


shared = lambda config: {"step": np.arange(0, config.num_steps + 1, _EVERY)}

claims = {"sgd-momentum-state-of-the-art-vision": _generalises}

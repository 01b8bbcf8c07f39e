"""Is backpropagation the chain rule, what does it cost, and does it solve XOR?

A backward pass written out in matrices against a tape and JAX's reverse mode (``gradients``), the training of a small
network on XOR from a thousand starts (``xor``), and one backward pass against one nudge for each parameter (``cost``).
"""

from typing import TYPE_CHECKING, Any

import numpy as np
import pydantic

from jaxcalc.lab import Config, Finding, Part, Variable, below, close, equal

if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure


def _start(seed: int, inputs: int = 2, hidden: int = 4) -> Any:
    """The start of popular XOR listings: half of standard normal numbers, drawn by column, and biases of 0."""
    import jax.numpy as jnp

    from jaxcalc.engines.manual import TwoLayer

    # Not numpy's new generators: the numbers of the listing are of this one.
    draw = np.random.RandomState(seed)
    w1, w2 = 0.5 * draw.randn(hidden, inputs), 0.5 * draw.randn(1, hidden)
    return TwoLayer(jnp.asarray(w1.T), jnp.zeros(hidden), jnp.asarray(w2.T), jnp.zeros(1))


def _by_tape(x: Any, y: Any) -> Any:
    """The mean cross-entropy of the network, on the tape."""
    from jaxcalc.engines import tape

    def loss(p):
        z = tape.relu(x @ p.w1 + p.b1) @ p.w2 + p.b2
        return tape.mean(tape.softplus(z) - y * z)

    return loss


def _by_jax(x: Any, y: Any) -> Any:
    """The mean cross-entropy of the network, in JAX."""
    import jax

    from jaxcalc.functions.losses import binary_cross_entropy_from_logits

    def loss(p):
        z = jax.nn.relu(x @ p.w1 + p.b1) @ p.w2 + p.b2
        return binary_cross_entropy_from_logits.mean(z, y)

    return loss


# -- gradients ---------------------------------------------------------------------------------------------------------


class Gradients(Config):
    batch: int = pydantic.Field(7, ge=2)
    """samples of the two-layer network"""
    pairs: int = pydantic.Field(400, ge=2)
    """random logits and labels"""
    depth: int = pydantic.Field(4, ge=1)
    """layers of the network that is walked back layer by layer"""


def run_gradients(config: Gradients, key: Any) -> dict[str, Any]:
    import jax
    import jax.numpy as jnp

    from jaxcalc.engines import finite_differences, tape
    from jaxcalc.engines.manual import backpropagate, forward
    from jaxcalc.functions.losses import binary_cross_entropy_from_logits

    draw = np.random.default_rng(0)
    x = jnp.asarray(draw.standard_normal((config.batch, 2)))
    y = jnp.asarray(draw.integers(0, 2, (config.batch, 1)).astype(float))
    parameters = _start(3)
    loss = _by_jax(x, y)
    flat = lambda tree: np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])
    exact = jax.grad(loss)(parameters)
    written = backpropagate(parameters, x, y, hidden="relu")

    # The listing keeps samples as columns and divides by the first dimension of the labels.
    columns, labels = forward(parameters, x, hidden="relu"), y.T
    delta = (columns.a2.T - labels) / labels.shape[0]
    helper = delta @ columns.a1

    z = jnp.asarray(draw.normal(0, 4, config.pairs))
    targets = jnp.asarray(draw.integers(0, 2, config.pairs).astype(float))
    fused = binary_cross_entropy_from_logits.value
    slope = jax.vmap(jax.grad(fused))(z, targets)
    unfused = lambda z, y: -(y * jnp.log(jax.nn.sigmoid(z)) + (1 - y) * jnp.log(1 - jax.nn.sigmoid(z)))

    weights = jnp.asarray(draw.standard_normal((config.depth, 5, 5)) / np.sqrt(5))
    layer = lambda w, a: jnp.tanh(a @ w)
    # Each layer keeps its own pullback, and hands one gradient to its weights and one to the layer below.
    a, pulls = x @ jnp.ones((2, 5)), []
    for w in weights:
        a, pull = jax.vjp(layer, w, a)
        pulls.append(pull)
    down, stored = jnp.ones_like(a), []
    for pull in reversed(pulls):
        stored_here, down = pull(down)
        stored.insert(0, stored_here)

    def whole(weights):
        a = x @ jnp.ones((2, 5))
        for i in range(config.depth):
            a = layer(weights[i], a)
        return jnp.sum(a)

    return {
        "entry": np.arange(flat(exact).size),
        "by_jax": flat(exact),
        "by_hand": flat(written.gradients),
        "by_tape": flat(tape.gradient(_by_tape(x, y))(parameters)),
        "by_differences": flat(finite_differences.gradient(loss)(parameters)),
        "helper": np.ravel(helper),
        "mean_loss_gradient": np.ravel(exact.w2),
        "num_samples": np.asarray(config.batch),
        "logit_residual": abs(np.asarray(slope - (jax.nn.sigmoid(z) - targets))),
        "slope_at_40": np.array([jax.grad(unfused)(40.0, 0.0), jax.grad(fused)(40.0, 0.0)]),
        "layer_residual": abs(np.asarray(jnp.stack(stored) - jax.grad(whole)(weights))).max((1, 2)),
    }


def _judge_logit(dataset: "xarray.Dataset") -> Finding:
    unfused, fused = dataset.slope_at_40.values
    return Finding(
        below(dataset.logit_residual) & equal(fused, 1.0),
        measured=f"{dataset.logit_residual.values.max():.2g}; "
        f"at z = 40, y = 0 {fused:g} from the logit, {unfused:g} through the logarithm",
    )


def _judge_two_layers(dataset: "xarray.Dataset") -> Finding:
    exact = dataset.by_jax
    names = ("by_hand", "by_tape", "by_differences")
    hand, tape, nudged = (float(abs(dataset[name] - exact).max(skipna=False)) for name in names)
    # The tape and the differences vouch for what the pass by hand is held against.
    vouched = close(dataset.by_tape, exact) & close(dataset.by_differences, exact, 1e-9)
    return Finding(
        close(dataset.by_hand, exact) & vouched,
        measured=f"{hand:.2g}; tape {tape:.2g}, central differences {nudged:.2g}",
    )


def _judge_helper(dataset: "xarray.Dataset") -> Finding:
    right = dataset.mean_loss_gradient.values
    live = right != 0
    ratio = dataset.helper.values[live] / right[live]
    words = "times the gradient of the mean loss"
    return Finding(
        close({"ratio_to_mean_loss_gradient": ratio}),
        measured=f"{ratio.mean():.12g} {words}, for {int(dataset.num_samples)} samples",
    )


def figures_of_gradients(dataset: "xarray.Dataset") -> dict[str, "Figure"]:
    from jaxcalc import style

    figure, axis = style.subplots(width=5.0, height=2.8)
    eps = np.finfo(float).eps
    for name, label, color, marker in (
        ("by_hand", "by hand", "blue", "o"),
        ("by_tape", "tape", "green", "^"),
        ("by_differences", "central differences", "orange", "s"),
    ):
        gap = abs(dataset[name] - dataset.by_jax).values
        axis.plot(dataset.entry, np.maximum(gap, 1e-18), marker, color=style.COLORS[color], label=label)
    axis.axhline(eps, **style.THEORY)
    axis.annotate("eps", (dataset.entry.values[-1], eps), (0, 3), textcoords="offset points", ha="right")
    axis.set(yscale="log", xlabel="parameter", ylabel="distance from JAX's gradient", ylim=(3e-19, 1e-7))
    axis.legend(loc="upper center", ncols=3)
    figure.set_label("Gradients of a 2-4-1 network's loss by every route; exact agreement is drawn at 1e-18.")
    return {"gradients": figure}


gradients = Part(
    Gradients,
    {
        "entry": Variable(("entry",), "", "number of the parameter"),
        "by_jax": Variable(("entry",), "", "the loss's gradient by JAX's reverse mode"),
        "by_hand": Variable(("entry",), "", "the loss's gradient by the backward pass written out in matrices"),
        "by_tape": Variable(("entry",), "", "the loss's gradient by the tape"),
        "by_differences": Variable(("entry",), "", "the loss's gradient by central differences"),
        "helper": Variable(
            ("unit",), "", "output weights' gradient by a listing that divides by the labels' first size"
        ),
        "mean_loss_gradient": Variable(("unit",), "", "output weights' gradient of the mean loss"),
        "num_samples": Variable((), "", "samples in the batch"),
        "logit_residual": Variable(("pair",), "", "gradient of the cross-entropy by the logit less a - y"),
        "slope_at_40": Variable(("form",), "", "gradient at z = 40, y = 0: through the logarithm, from the logit"),
        "layer_residual": Variable(("layer",), "", "largest difference of a layer's gradient from the whole's"),
    },
    "host",
    run_gradients,
    figures=figures_of_gradients,
    claims={
        "sigmoid-bce-gradient-a-minus-y": _judge_logit,
        "two-layer-backward-matches-ad": _judge_two_layers,
        "backward-helper-batch-size": _judge_helper,
        "backprop-is-chain-rule-per-layer": lambda dataset: below(dataset.layer_residual),
    },
    doc="Is a backward pass written out by hand the gradient, to rounding?",
)

# -- xor ---------------------------------------------------------------------------------------------------------------


class Xor(Config):
    starts: int = pydantic.Field(1000, ge=43)
    """seeds 0, 1, ... of the starting weights; 42 is among them"""
    epochs: int = pydantic.Field(10_000, ge=1)
    """steps of gradient descent"""
    rate: float = pydantic.Field(1.0, gt=0)
    """length of a step, in multiples of the gradient"""


def run_xor(config: Xor, key: Any) -> dict[str, Any]:
    import jax
    import jax.numpy as jnp

    from jaxcalc.engines.manual import backpropagate, forward

    x = jnp.asarray([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    y = jnp.asarray([[0.0], [1.0], [1.0], [0.0]])

    def train(parameters):
        def step(p, _):
            found = backpropagate(p, x, y, hidden="relu")
            return jax.tree.map(lambda a, g: a - config.rate * g, p, found.gradients), found.value

        last, losses = jax.lax.scan(step, parameters, None, length=config.epochs)
        found = backpropagate(last, x, y, hidden="relu")
        size = jnp.sqrt(sum(jnp.sum(g**2) for g in found.gradients))
        return forward(last, x, hidden="relu").a2[:, 0], found.value, size, losses

    starts = [_start(seed) for seed in range(config.starts)]
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


def _solved(dataset: "xarray.Dataset") -> np.ndarray:
    """1 where a start ends at outputs that round to the targets, else 0; NaN where one is NaN."""
    wrong = abs(np.round(dataset.output.values) - dataset.target.values)
    return 1.0 - np.minimum(wrong.max(axis=-1), 1.0)


def _judge_starts(dataset: "xarray.Dataset") -> Finding:
    solved = _solved(dataset)
    failed = dataset.output.values[solved == 0]
    constant = (np.ptp(failed, axis=1) < 1e-2).mean() if len(failed) else 0.0
    share, others = f"{100 * solved.mean():.1f} %", f"{100 * constant:.0f} % of the others"
    return Finding(
        close(dataset.output.sel(start=42), dataset.target, 0.01),
        limits=~close({"success_rate": solved.mean()}),
        measured=f"{share} of {solved.size} starts; {others} end at a constant",
    )


def figures_of_xor(dataset: "xarray.Dataset") -> dict[str, "Figure"]:
    from jaxcalc import style

    figure, (left, right) = style.subplots(1, 2, width="page", height=2.7)
    solved = _solved(dataset) == 1
    place = dict(zip(dataset.start.values.tolist(), solved.tolist()))
    named = {True: "solved", False: "not solved"}
    for start, losses in zip(dataset.shown.values.tolist(), dataset.loss.values):
        color = style.COLORS["blue" if place[start] else "vermilion"]
        label = named.pop(place[start], None)
        left.plot(dataset.epoch, losses, color=color, label=label, linewidth=2.4 if start == 42 else 0.9)
    left.set(xscale="log", yscale="log", xlabel="epoch", ylabel="cross-entropy (nat)")
    left.legend(loc="lower left")
    ends = np.sort(dataset.final_loss.values)
    right.plot(ends, np.arange(1, ends.size + 1) / ends.size * 100, color=style.COLORS["blue"])
    right.axvline(np.log(2), **style.THEORY)
    right.annotate("constant output", (np.log(2), 20), (-4, 0), textcoords="offset points", ha="right")
    right.set(xscale="log", xlabel="cross-entropy at the end (nat)", ylabel="starts that end below (%)", ylim=(0, 102))
    style.panel_labels((left, right))
    figure.set_label(
        f"A 2-4-1 network on XOR: seed 42 (thick) and twelve others, and where {ends.size} starts end. Dashed: log 2, "
        "the loss of a constant output of one half."
    )
    return {"xor": figure}


xor = Part(
    Xor,
    {
        "sample": Variable(("sample",), "", "the two inputs"),
        "target": Variable(("sample",), "", "exclusive or of the inputs"),
        "start": Variable(("start",), "", "seed of the starting weights"),
        "output": Variable(("start", "sample"), "", "the network's output after training"),
        "final_loss": Variable(("start",), "nat", "cross-entropy after training"),
        "final_gradient": Variable(("start",), "nat", "norm of the gradient after training"),
        "epoch": Variable(("epoch",), "", "steps of gradient descent"),
        "shown": Variable(("shown",), "", "seeds whose training is kept"),
        "loss": Variable(("shown", "epoch"), "nat", "cross-entropy along training"),
    },
    "host",
    run_xor,
    figures=figures_of_xor,
    claims={
        "xor-seed-42-solved": lambda dataset: close(dataset.output.sel(start=42)),
        "xor-solved-in-general": _judge_starts,
    },
    doc="Does a 2-4-1 network learn XOR, from one start and from a thousand?",
)

# -- cost --------------------------------------------------------------------------------------------------------------

_ROUTES = ("by hand", "tape", "reverse", "forward differences", "central differences")


class Price(Config):
    widths: tuple[int, ...] = (4, 16, 64, 256)
    """hidden units of the networks that are priced"""
    inputs: int = pydantic.Field(16, ge=1)
    """inputs of the networks"""
    batch: int = pydantic.Field(32, ge=1)
    """samples in a batch"""


def run_cost(config: Price, key: Any) -> dict[str, Any]:
    import jax
    import jax.numpy as jnp

    from jaxcalc.engines import finite_differences, tape
    from jaxcalc.engines.manual import backpropagate
    from jaxcalc.programs import cost

    x, y = jnp.ones((config.batch, config.inputs)), jnp.ones((config.batch, 1))
    operations = lambda fun, at: cost(fun, at).flops + cost(fun, at).transcendentals
    sizes, found = [], np.zeros((len(config.widths), len(_ROUTES)))
    for i, width in enumerate(config.widths):
        parameters = _start(0, config.inputs, width)
        loss = _by_jax(x, y)
        differences = lambda scheme, loss=loss: finite_differences.gradient(loss, scheme=scheme)
        routes = {
            "by hand": lambda p: backpropagate(p, x, y, hidden="relu")[:2],
            "tape": tape.value_and_gradient(_by_tape(x, y)),
            "reverse": jax.value_and_grad(loss),
            "forward differences": differences("forward"),
            "central differences": differences("central"),
        }
        value = operations(loss, parameters)
        found[i] = [operations(routes[name], parameters) / value for name in _ROUTES]
        sizes.append(sum(leaf.size for leaf in parameters))
    return {"num_parameters": np.array(sizes), "route": np.array(_ROUTES), "relative_cost": found}


def tables_of_cost(dataset: "xarray.Dataset") -> dict[str, list[dict[str, Any]]]:
    from jaxcalc import measure

    n = dataset.num_parameters.values
    rows = []
    for name in map(str, dataset.route.values):
        costs = dataset.relative_cost.sel(route=name).values
        rows.append(
            {
                "route": name,
                "smallest network": float(f"{costs[0]:.3g}"),
                "largest network": float(f"{costs[-1]:.3g}"),
                "exponent in parameters": float(f"{measure.exponent(n, costs):.3f}"),
            }
        )
    return {"Operations of a gradient, in evaluations of the loss": rows}


def figures_of_cost(dataset: "xarray.Dataset") -> dict[str, "Figure"]:
    from jaxcalc import style

    figure, axis = style.subplots(width=4.6, height=3.0)
    n = dataset.num_parameters.values
    looks = {
        "by hand": ("blue", "o"),
        "tape": ("green", "^"),
        "reverse": ("vermilion", "s"),
        "forward differences": ("orange", "D"),
        "central differences": ("purple", "v"),
    }
    for name in map(str, dataset.route.values):
        color, marker = looks[name]
        look: dict[str, Any] = {"color": style.COLORS[color], "marker": marker, "label": name}
        if name in ("by hand", "tape"):
            look |= {"markersize": 9 if name == "tape" else 6, "markerfacecolor": "none", "markeredgewidth": 0.9}
        axis.plot(n, dataset.relative_cost.sel(route=name), **look)
    theory = {**style.THEORY, "zorder": 3}
    axis.plot(n, n + 1, **theory)
    axis.plot(n, 2 * n, **theory)
    axis.set(xscale="log", yscale="log", xlabel="parameters n", ylabel="operations / those of the loss", ylim=(1, None))
    axis.legend(loc="center left", bbox_to_anchor=(0.45, 0.32))
    figure.set_label(
        "Loss and gradient of a two-layer network over the loss alone, operations counted: the three passes "
        "backward nearly coincide. Dashed: n + 1 and 2 n."
    )
    return {"cost": figure}


cost = Part(
    Price,
    {
        "num_parameters": Variable(("num_parameters",), "", "parameters of the network"),
        "route": Variable(("route",), "", "how the gradient is found"),
        "relative_cost": Variable(("num_parameters", "route"), "", "operations over those of the loss"),
    },
    "host",
    run_cost,
    figures=figures_of_cost,
    tables=tables_of_cost,
    doc="What does one backward pass cost beside one nudge for each parameter?",
)

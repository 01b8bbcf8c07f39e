"""``criticality``: a model's layers read off its program, their theory beside their measurement, and a verdict."""

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxcalc import checks
from jaxcalc.models.criticality.fields import Outside
from jaxcalc.models.criticality.layers import Layer, Row, acts_on, find_layers, kind_of_row, order_of_rows
from jaxcalc.models.criticality.measured import Measured, Traced
from jaxcalc.models.criticality.report import Criticality, LayerReport, Verdict
from jaxcalc.models.criticality.theory import FEWER, Moments, Theory
from jaxcalc.programs import walk
from jaxcalc.transforms.interpreter import program_of

__all__ = ["criticality"]

_NARROWEST = 16  # features that a mean over features can be taken of
_STEADY = 0.02  # a rate below this is none: 50 layers to a factor e
_VISIBLE = 0.05  # share of the gradient along the signal beyond which the width is not infinite
_FAINT = 1 / 32  # a gain at which skip connections alone are left
_DOUBLINGS = 10  # of a gain, up and down, within which the critical one is looked for
_FARTHEST = 8.0  # layers before the first at which a power of depth may have begun
_ASTRAY = 0.5  # of a factor's logarithm, beyond which a layer is not as the deeper ones are
_LOUDER = 4.0  # a gain that a norm does away with, and nothing else


def criticality(
    model: Any,
    x: Any,
    /,
    *,
    num_seeds: int = 64,
    key: jax.Array | None = None,
    num_samples: int = 8192,
) -> Criticality:
    """What depth does to the signals and gradients of a model at initialisation, predicted and measured.

    The model is traced. Its layers are the products and convolutions of something made from the parameters alone with
    something that depends on the input; a loop's layers count once a trip. At infinite width the whole program, with
    its way back, is run on samples of features, see ``wide``; measured are the true gradients of a random cotangent of
    the output, over draws of the parameters.

    Args:
      model: ``init(key) -> params`` and ``apply(params, x) -> output``: a ``Model``, or any pair. Of Flax:
        ``(lambda key: module.init(key, x), module.apply)``; of Equinox: ``(constructor, lambda module, x: ...)`` where
        the constructor returns the arrays (``eqx.filter``) and the other combines them.
      x: the input, a PyTree of arrays; what is predicted is predicted for it.
      num_seeds: draws to be measured; 0 for none.
      key: of these draws.
      num_samples: of each feature's law; a power of two.

    Returns:
      A ``Criticality``: printed, a table and its explanation. A model that the theory does not cover has
      ``verdict == "outside the theory"``, the ``reason``, and what was measured.

    Raises:
      TypeError: for what is no model.
      ValueError: for numbers out of range.

    Source: S. Schoenholz et al., Deep Information Propagation, ICLR 2017; G. Yang, Tensor Programs II, 2020.
    """
    checks.integer("criticality", "num_seeds", num_seeds, least=0)
    checks.integer("criticality", "num_samples", num_samples, least=64)
    if num_samples & (num_samples - 1):
        raise ValueError(f"criticality: num_samples must be a power of two, got {num_samples}. Use 8192, say.")
    init, apply = _pair(model)
    key = jax.random.key(0) if key is None else key
    x = jax.tree.map(jnp.asarray, x)
    one = jax.eval_shape(init, key)
    leaves, structure = jax.tree.flatten(one)
    inputs, input_structure = jax.tree.flatten(x)
    if not leaves:
        return _nothing("the model has no parameters")

    def fun(params, data):
        return apply(jax.tree.unflatten(structure, params), jax.tree.unflatten(input_structure, data))

    # Derivatives are those that custom rules say; where nothing is differentiated their bodies are looked into.
    program, inlined = walk.prune(program_of(fun, leaves, inputs)), walk.prune(walk.trace(fun, leaves, inputs))
    try:
        layers = find_layers(program, len(leaves))
    except Outside as outside:
        return _nothing(str(outside))
    if not layers:
        return _nothing("the model has no layers: no product of its parameters with what depends on the input")
    if not order_of_rows(layers):
        return _nothing("the model has no layers: its loops make no trip")
    traced = Traced(init, program, inlined, layers, inputs, len(leaves), key)
    theory, outside = None, ""
    try:
        _wide_enough(layers)
        theory = Theory(traced, num_samples)
        moments = theory.moments()
    except Outside as problem:
        outside, moments = str(problem), None
    measured = traced.measure(num_seeds, theory.outputs if theory else None) if num_seeds else None
    return _report(traced, theory, moments, measured, outside, num_seeds)


def _pair(model: Any) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """``init`` and ``apply`` of a model."""
    pair = (model.init, model.apply) if hasattr(model, "init") and hasattr(model, "apply") else model
    if isinstance(pair, tuple) and len(pair) == 2 and all(map(callable, pair)):
        return pair
    raise TypeError(
        "criticality: model must be a Model or a pair (init, apply) of functions, "
        f"got {type(model).__name__}. Pass (lambda key: ..., lambda params, x: ...)."
    )


def _nothing(reason: str) -> Criticality:
    nan = math.nan
    return Criticality((), "outside the theory", reason, 0, nan, nan, nan, nan, nan, "", (), 0)


def _wide_enough(layers: Sequence[Layer]) -> None:
    for layer in layers:
        if layer.deep and layer.width < _NARROWEST:
            raise Outside(f"a layer acts on {layer.width} features, and the theory is one of many")


# -- the report ----------------------------------------------------------------------------------------------------


def _report(
    traced: Traced,
    theory: Theory | None,
    moments: list[Moments] | None,
    measured: Measured | None,
    reason: str,
    num_seeds: int,
) -> Criticality:
    rows = order_of_rows(traced.layers)
    kinds = [kind_of_row(traced.layers, row) for row in rows]
    main = _main_rows(traced.layers, rows, kinds)
    depth = len(main) - 1
    ends = main[0], main[-1]
    predicted = np.full((3, len(rows)), math.nan)
    if moments is not None:
        predicted = np.array(
            [[m.signal[t], m.gradient[t], m.spread[t]] for m, t in ((moments[number], t) for number, t in rows)]
        ).T
    _, gradient, spread = predicted
    rate = _log_ratio(gradient, *ends) / depth if depth else math.nan
    measured_rate = rate_error = math.nan
    if measured is not None and depth:
        measured_rate, rate_error = (number / depth for number in _over_seeds(measured.gradient, *ends))
    notes = _notes(traced.layers)
    band = math.sqrt(np.nansum(spread[list(main[1:])])) if depth and moments is not None else math.nan
    verdict: Verdict = "outside the theory"
    gain, remedy = math.nan, ""
    if theory is not None and moments is not None and not reason:
        reason = _beyond(theory, predicted[0], main, rows, rate, measured_rate, rate_error)
        if not reason and not depth:
            reason = "a single layer has no factor"
        if not reason:
            verdict, gain, remedy = _judge(theory, gradient, main, rows, rate)
    if verdict == "outside the theory":
        rate = band = math.nan
        predicted[:] = math.nan
    return Criticality(
        _layer_reports(traced.layers, rows, kinds, main, predicted, measured),
        verdict,
        reason,
        max(depth, 0),
        rate,
        measured_rate,
        rate_error,
        band,
        gain,
        remedy,
        notes,
        num_seeds,
    )


def _main_rows(layers: Sequence[Layer], rows: Sequence[Row], kinds: Sequence[Any]) -> list[int]:
    """The rows of the kind that occurs most often, each acting on the one before; of all, where none occurs twice."""
    groups: dict[Any, list[int]] = {}
    for row, kind in enumerate(kinds):
        groups.setdefault(kind, []).append(row)
    # What acts on the input alone, as at each time of a recurrent network, is no step of depth.
    deep = [layers[number].deep for number, _ in rows]
    groups = {kind: members for kind, members in groups.items() if any(deep[row] for row in members)} or groups
    chains = [_chain(layers, rows, members) for members in groups.values()]
    # Of several as long the last: within a block that is where the gradient is the skip connection's own.
    longest = max(reversed(chains), key=len)
    return longest if len(longest) > 1 else _chain(layers, rows, range(len(rows)))


def _chain(layers: Sequence[Layer], rows: Sequence[Row], members: Sequence[int]) -> list[int]:
    """The last of some rows, the nearest that it acts on, and so on: what stands side by side is left out."""
    chain = [members[-1]]
    for row in reversed(members[:-1]):
        if acts_on(layers, rows[chain[0]], rows[row]):
            chain.insert(0, row)
    return chain


def _log_ratio(values: np.ndarray, first: int, last: int) -> float:
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.log(values[first]) - np.log(values[last]))


def _over_seeds(values: np.ndarray, first: int, last: int) -> tuple[float, float]:
    """The logarithm of a ratio of means over seeds, with its standard error."""
    means = values.mean(axis=0)
    if not (means[first] > 0 and means[last] > 0 and np.all(np.isfinite(means[[first, last]]))):
        return _log_ratio(means, first, last), math.nan
    ratio = values[:, first] / means[first] - values[:, last] / means[last]
    error = ratio.std(ddof=1) / math.sqrt(len(ratio)) if len(ratio) > 1 else math.nan
    return _log_ratio(means, first, last), float(error)


def _layer_reports(
    layers: Sequence[Layer],
    rows: Sequence[Row],
    kinds: Sequence[Any],
    main: Sequence[int],
    predicted: np.ndarray,
    measured: Measured | None,
) -> tuple[LayerReport, ...]:
    reports = []
    alone = len({kinds[row] for row in main}) > 1
    for row, (number, trip) in enumerate(rows):
        alike = [later for later in range(row + 1, len(rows)) if alone or kinds[later] == kinds[row]]
        after = next((later for later in alike if acts_on(layers, rows[later], rows[row])), None)
        signal, gradient, spread = predicted
        factor = measured_factor = error = math.nan
        if after is not None:
            factor = math.exp(_log_ratio(gradient, row, after))
            if measured is not None:
                logarithm, error = _over_seeds(measured.gradient, row, after)
                measured_factor = math.exp(logarithm)
        moment = moment_error = math.nan
        if measured is not None:
            column = measured.signal[:, row]
            moment = float(column.mean())
            moment_error = float(column.std(ddof=1) / math.sqrt(len(column))) if len(column) > 1 else math.nan
        name = str(number + 1) + "".join(f"[{place}]" for place in trip)
        band = math.sqrt(max(spread[after], 0.0)) if after is not None else math.nan
        reports.append(
            LayerReport(
                name,
                layers[number].features,
                float(signal[row]),
                moment,
                moment_error,
                factor,
                measured_factor,
                error,
                band,
            )
        )
    return tuple(reports)


def _notes(layers: Sequence[Layer]) -> tuple[str, ...]:
    notes = []
    if any(layer.reused for layer in layers):
        notes.append(
            "Weights shared by the trips of a loop are the same matrix throughout; gradients meet them as if they had "
            "not been met on the way up, which infinite width allows."
        )
    return tuple(notes)


def _beyond(
    theory: Theory,
    signals: np.ndarray,
    main: Sequence[int],
    rows: Sequence[Row],
    rate: float,
    measured_rate: float,
    rate_error: float,
) -> str:
    """Why this width is too far from infinite, if it is."""
    depth = len(main) - 1
    if not depth or not math.isfinite(rate):
        return ""
    first, last = rows[main[0]], rows[main[-1]]
    layer = theory.traced.layers[first[0]]
    # Where the input enters at every step, scaling it says nothing of one step.
    changes = theory.scaling() if not layer.reused else [np.zeros(each.trips) for each in theory.traced.layers]
    start, end = (float(changes[number][trip]) for number, trip in (first, last))
    width = layer.width
    signal = float(signals[main[0]])
    # Behind a norm scaling the input changes nothing, but for rounding.
    if start > 1e-3 * signal and end > 0:
        # Scaling the input is one direction of `width`; where it grows faster than the others, the gradient comes to
        # lie along it, and the factor is no longer that of independent directions.
        share = (math.exp(min(math.log(end / start) - depth * rate, 700.0)) - 1) / width
        if share > _VISIBLE:
            return (
                f"with {depth} layers of width {width} gradients turn to the direction of the signal itself, which "
                "grows faster than any other; independent directions hold for fewer layers or far more features"
            )
    if math.isfinite(rate_error) and abs(measured_rate - rate) > 4 * rate_error and abs(measured_rate - rate) > 0.01:
        return (
            f"the measured factor, {math.exp(measured_rate):.4g} a layer, is not that of infinite width, "
            f"{math.exp(rate):.4g}, by {abs(measured_rate - rate) / rate_error:.0f} standard errors: this width is "
            "too small for this depth, or gradients are not independent of signals"
        )
    return ""


def _judge(
    theory: Theory,
    gradient: np.ndarray,
    main: Sequence[int],
    rows: Sequence[Row],
    rate: float,
) -> tuple[Verdict, float, str]:
    """The verdict, the gain that makes the model critical, and the same in words."""
    depth = len(main) - 1
    logs = np.array([_log_ratio(gradient, a, b) for a, b in itertools.pairwise(main)])
    if not math.isfinite(rate) or not np.all(gradient[list(main)] > 0):
        return "dead", math.nan, "Draw the weights with a variance that is not zero."

    def factors(gain: float, num_samples: int = FEWER) -> np.ndarray:
        moments = theory.moments(gain, min(num_samples, theory.num_samples))
        squares = [float(moments[number].gradient[trip]) for number, trip in (rows[row] for row in main)]
        with np.errstate(divide="ignore", invalid="ignore"):
            return -np.diff(np.log(squares))

    at = lambda gain: float(np.mean(factors(gain)))
    last = lambda logs: float(np.mean(logs[-max(1, len(logs) // 3) :]))
    # What saturates has a slope near 0 alone, which few samples meet.
    here, louder = last(logs), last(factors(_LOUDER, theory.num_samples))
    faint = at(_FAINT)
    # The first layers may still meet what no norm has seen; the last ones tell. Without a norm a factor of any size
    # moves with the gain, if not by much where tanh saturates behind a skip.
    if abs(louder - here) < 0.03 * math.log(_LOUDER) + 0.1 * min(abs(here), 1.0):
        return (
            "normalised",
            math.nan,
            "No gain on the weights changes it"
            + (": fewer layers, or skip connections." if abs(rate) > _STEADY else "."),
        )
    skips = abs(faint) < 1e-2
    final = _limit(logs)
    # Behind skip connections factors tend to 1 whatever happens, so that the whole is looked at.
    critical = abs(rate) < _STEADY or (abs(rate) * depth <= 1 if skips else abs(final) < _STEADY)
    verdict: Verdict = "critical" if critical else "ordered" if (final if not skips else rate) < 0 else "chaotic"
    if verdict == "critical":
        return verdict, 1.0, "The weights may stay as they are."
    target = 1 / depth if skips else 0.0
    gain = _root(lambda gain: at(gain) - target)
    if math.isnan(gain):
        most = 2**_DOUBLINGS
        return verdict, gain, f"No gain on the weights from 1/{most} to {most} makes it critical."
    words = f"Multiply all weights by {gain:.4g}: " + (
        "gradients then grow by a factor e over the whole depth." if skips else "gradients then keep their size."
    )
    return verdict, gain, words


def _limit(logs: np.ndarray) -> float:
    """Where factors' logarithms tend to with depth: the constant ``a`` of ``a + b / (layer + c)`` in the deeper half.

    At a critical point they fall off as ``b / layer``, counted from where the first layers' start would lie. One or two
    layers may first bring the input to size; where more stray, layers differ and have no limit: their mean counts.
    """
    number = np.arange(1, len(logs) + 1)
    deep = number > len(logs) // 2
    if np.sum(deep) < 3:
        return float(logs[-1] if np.sum(np.abs(logs - logs[-1]) > _ASTRAY) <= 1 else np.mean(logs))
    starts = np.linspace(0, _FARTHEST, 33) if np.sum(deep) > 3 else np.zeros(1)
    tables = [np.stack([np.ones(len(logs)), 1 / (number + start)], axis=1) for start in starts]
    fits = [np.linalg.lstsq(table[deep], logs[deep], rcond=None)[0] for table in tables]
    best = min(range(len(fits)), key=lambda i: np.sum((tables[i] @ fits[i] - logs)[deep] ** 2))
    astray = np.sum(np.abs(tables[best] @ fits[best] - logs) > _ASTRAY)
    return float(fits[best][0] if astray <= 2 else np.mean(logs))


def _root(fun: Callable[[float], float]) -> float:
    """The gain nearest to 1 at which a function changes sign; NaN if there is none."""
    from scipy import optimize

    at = functools.cache(lambda power: fun(2.0**power))  # each value is a run at infinite width
    for low in sorted(range(-_DOUBLINGS, _DOUBLINGS), key=lambda low: abs(low + 0.5)):
        ends = at(low), at(low + 1)
        if np.isfinite(ends).all() and ends[0] * ends[1] <= 0:
            power: Any = optimize.brentq(at, low, low + 1, xtol=1e-4)
            return 2.0**power
    return math.nan

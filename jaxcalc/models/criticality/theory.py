"""What infinite width says of each layer: moments of signals and gradients."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from jaxcalc.models.criticality.fields import Drawn, Field, Known, Outside, Sampler, Split
from jaxcalc.models.criticality.layers import Layer, with_gradients, with_scaling
from jaxcalc.models.criticality.matrices import Matrices
from jaxcalc.models.criticality.measured import Traced
from jaxcalc.models.criticality.wide import run
from jaxcalc.programs import walk
from jaxcalc.programs.walk import Program

__all__ = ["FEWER", "Moments", "Theory"]

FEWER = 2048  # samples where only a root or a sign is looked for

_MOST_SPLITS = 24  # times that features are found to need finer parts


@dataclass(frozen=True)
class Moments:
    """One layer at infinite width, each array of its trips' shape.

    Args:
      signal: the mean square of what it computes.
      gradient: the sum over features, examples and positions of the squared gradient there.
      spread: the variance of that sum's logarithm that a finite width leaves in one step.
    """

    signal: np.ndarray
    gradient: np.ndarray
    spread: np.ndarray


def _attempts(run_once: Any, parts: dict[int, tuple[int, ...]]) -> Any:
    """Run, with features taken in finer parts as often as that is found to be needed."""
    for _ in range(_MOST_SPLITS):
        try:
            return run_once()
        except Split as split:
            parts[split.width] = split.parts
    raise Outside("features are taken apart in too many ways")


def _output_fields(
    program: Program, params: Sequence[Any], data: Sequence[Any], parts: dict[int, tuple[int, ...]]
) -> list[Any]:
    """The outputs at infinite width, by few samples; refuses what only the way up shows."""

    def once():
        matrices = Matrices(Sampler(64, parts), remember=True, transposes=False)
        return run(program, _operands(params, data), matrices)

    with jax.enable_x64(True):
        return _attempts(once, parts)


def _operands(params: Sequence[Any], data: Sequence[Any]) -> list[Any]:
    return [*map(Drawn, params), *(Known(array, True) for array in data)]


def _predict(
    program: Program,
    layers: Sequence[Layer],
    params: Sequence[Any],
    data: Sequence[Any],
    outputs: Sequence[Any],
    parts: dict[int, tuple[int, ...]],
    *,
    num_samples: int,
    gain: float = 1.0,
    variances: dict[Any, Any] | None = None,
) -> list[Moments]:
    """Moments of every layer's signal and gradient.

    Args:
      program: of ``with_gradients``, inputs ``(*params, *data, *cotangents)``.
      layers: its layers.
      params: draws of the parameters.
      data: the inputs.
      outputs: the model's outputs, from ``output_fields``; they tell where cotangents have features.
      parts: of features, see ``Split``.
      num_samples: of each field.
      gain: a factor on all weights.
      variances: of weights, if they are kept for another time.
    """
    remember = False

    def once():
        sampler = Sampler(num_samples, parts)
        matrices = Matrices(sampler, gain, remember, variances={} if variances is None else variances)
        cotangents = [_cotangent(output, sampler) for output in outputs]
        return run(program, [*_operands(params, data), *cotangents], matrices), matrices.reused

    with jax.enable_x64(True):
        results, reused = _attempts(once, parts)
        if reused:
            remember = True
            results, _ = _attempts(once, parts)
        signals, gradients = results[: len(layers)], results[len(layers) :]
        return [_moments(*each) for each in zip(layers, signals, gradients)]


def _predict_scaling(
    program: Program,
    layers: Sequence[Layer],
    params: Sequence[Any],
    data: Sequence[Any],
    parts: dict[int, tuple[int, ...]],
    *,
    num_samples: int,
) -> list[np.ndarray]:
    """The mean square of how each layer changes as the input is scaled; ``program`` is of ``with_scaling``."""

    def once():
        return run(program, _operands(params, data), Matrices(Sampler(num_samples, parts), remember=True))

    with jax.enable_x64(True):
        changes = _attempts(once, parts)
    return [
        _by_sample(change, len(layer.trips), np.mean) @ change.layout.weights / change.layout.width
        if isinstance(change, Field)
        else np.zeros(layer.trips)
        for layer, change in zip(layers, changes)
    ]


def _cotangent(output: Any, sampler: Sampler) -> Any:
    """Independent standard normal numbers for each feature and example; nothing where an output is not random."""
    shape = list(output.shape) if isinstance(output, Field) else list(np.shape(output.array))
    if isinstance(output, Drawn):
        shape = shape[1:]
    if not isinstance(output, Field):
        return Known(np.zeros(shape))
    if output.members is not None or output.group_size > 1:
        raise Outside("the model's output is left in heads")
    layout = sampler.layout(shape[output.axis])
    del shape[output.axis]
    rows = int(np.prod(shape))
    samples = sampler.white(rows, layout).reshape(*shape, layout.size)
    return Field(np.moveaxis(samples, -1, output.axis), output.axis, layout)


def _moments(layer: Layer, signal: Any, gradient: Any) -> Moments:
    shape = layer.trips
    if not isinstance(signal, Field):
        if np.any(np.asarray(signal.array)):
            raise Outside("a layer without random weights")
        signal_square = np.zeros(shape)
    else:
        squares = _by_sample(signal, len(shape), np.mean)
        weights = signal.layout.weights / signal.layout.width
        signal_square = squares @ weights
    if not isinstance(gradient, Field):
        zero = not np.any(np.asarray(gradient.array))
        if not zero:
            raise Outside("a gradient that is not random")
        return Moments(signal_square, np.zeros(shape), np.zeros(shape))
    sums = _by_sample(gradient, len(shape), np.sum)
    total = sums @ gradient.layout.weights
    with np.errstate(invalid="ignore", divide="ignore"):
        spread = np.nan_to_num((sums**2 @ gradient.layout.weights) / total**2 - 1 / gradient.layout.width)
    return Moments(signal_square, total, spread)


def _by_sample(field: Field, lead: int, reduce: Any) -> np.ndarray:
    """Squares reduced over all axes but those of loops and samples: ``(*trips, samples)``."""
    array = np.moveaxis(np.asarray(field.array) ** 2, field.axis, -1)
    return reduce(array.reshape(*array.shape[:lead], -1, array.shape[-1]), axis=-2)


class Theory:
    """Infinite width, for a traced model."""

    def __init__(self, traced: Traced, num_samples: int):
        self.traced, self.num_samples = traced, num_samples
        self.draws, self.parts, self.variances = traced.draws(), {}, {}
        outputs = _output_fields(traced.inlined, self.draws, traced.inputs, self.parts)
        self.outputs = [output for output, value in zip(outputs, traced.program.outputs) if value.inexact]
        if not any(isinstance(output, Field) for output in self.outputs):
            raise Outside("the output is not random at infinite width: it is a mean over features, or a constant")
        shapes = [jax.ShapeDtypeStruct(value.shape, value.dtype) for value in traced.program.inputs]
        cotangents = [jax.ShapeDtypeStruct(v.shape, v.dtype) for v in traced.program.outputs if v.inexact]
        gradients = with_gradients(traced.program, traced.layers)
        self.program = walk.prune(walk.trace(gradients, shapes, cotangents))
        scaled = with_scaling(traced.program, traced.layers, traced.num_params)
        self.scaled = walk.prune(walk.trace(scaled, shapes))

    def moments(self, gain: float = 1.0, num_samples: int | None = None) -> list[Moments]:
        """Of every layer, with all weights times a gain."""
        return _predict(
            self.program,
            self.traced.layers,
            self.draws,
            self.traced.inputs,
            self.outputs,
            self.parts,
            num_samples=num_samples or self.num_samples,
            gain=gain,
            variances=self.variances,
        )

    def scaling(self) -> list[np.ndarray]:
        """The mean square of each layer's change as the input is scaled."""
        return _predict_scaling(
            self.scaled, self.traced.layers, self.draws, self.traced.inputs, self.parts, num_samples=FEWER
        )

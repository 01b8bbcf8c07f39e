"""What is told of a model: layer by layer, predicted beside measured."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from jaxcalc.transforms.tables import columns

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Criticality", "LayerReport", "Verdict"]

Verdict = Literal["ordered", "critical", "chaotic", "normalised", "dead", "outside the theory"]


@dataclass(frozen=True)
class LayerReport:
    """One layer, or one trip of a loop's layer.

    Args:
      name: its number, with the trip where it is within a loop.
      features: how many there are, the sizes of the axes that its weights add.
      moment, measured_moment, moment_error: the mean square of what it computes: predicted; over seeds, with the
        standard error.
      factor, measured_factor, factor_error: what the gradient's squared norm is multiplied by from the next layer of
        its kind to this one; the error is one of the logarithm. NaN for the last.
      band: the deviation of the factor's logarithm from draw to draw that the width leaves, by independent layers.
    """

    name: str
    features: tuple[int, ...]
    moment: float
    measured_moment: float
    moment_error: float
    factor: float
    measured_factor: float
    factor_error: float
    band: float


@dataclass(frozen=True)
class Criticality:
    """How signals and gradients fare with depth, at infinite width and as measured.

    Args:
      layers: all layers, in the order in which they run.
      verdict: ``"ordered"``: gradients vanish with depth; ``"chaotic"``: they explode; ``"critical"``: neither, or no
        faster than a power of depth; ``"normalised"``: they do as they do whatever the weights' scale; ``"dead"``:
        nothing passes; ``"outside the theory"``: nothing is predicted, and ``reason`` says why.
      reason: why the model, or its prediction, is outside the theory; empty if it is not.
      depth: how many factors lie between the first and the last layer of the kind that occurs most often, each acting
        on the one before; of branches side by side the last counts.
      rate, measured_rate, rate_error: the mean logarithm of the factor over them: predicted; the logarithm of the mean
        over seeds, with its standard error.
      band: the deviation of the whole ratio's logarithm from draw to draw.
      gain: the factor on all weights that makes the model critical; NaN if there is none.
      remedy: the same in words.
      notes: what was assumed.
      num_seeds: draws that were measured.
    """

    layers: tuple[LayerReport, ...]
    verdict: Verdict
    reason: str
    depth: int
    rate: float
    measured_rate: float
    rate_error: float
    band: float
    gain: float
    remedy: str
    notes: tuple[str, ...]
    num_seeds: int

    @property
    def factor(self) -> float:
        """The predicted factor on the gradient's squared norm a layer: the geometric mean."""
        return math.exp(self.rate)

    @property
    def vanishing_depth(self) -> float:
        """The layers after which the gradient's norm has come down to 1e-6; infinite if it does not shrink."""
        rate = self._best_rate
        return math.nan if math.isnan(rate) else 2 * math.log(1e-6) / rate if rate < 0 else math.inf

    @property
    def exploding_depth(self) -> float:
        """The layers after which the gradient's norm has gone up to 1e6; infinite if it does not grow."""
        rate = self._best_rate
        return math.nan if math.isnan(rate) else 2 * math.log(1e6) / rate if rate > 0 else math.inf

    @property
    def _best_rate(self) -> float:
        return self.measured_rate if math.isnan(self.rate) else self.rate

    def table(self) -> str:
        """One layer a line: moments and factors, predicted and measured with standard errors."""
        rows = [
            ("layer", "features", "q", "q measured", "chi", "chi measured", "band"),
            *(
                (
                    layer.name,
                    "x".join(map(str, layer.features)),
                    _number(layer.moment),
                    _measured(layer.measured_moment, layer.moment_error),
                    _number(layer.factor),
                    _measured(layer.measured_factor, layer.factor_error * layer.measured_factor),
                    "" if math.isnan(layer.band) else f"x/ {math.exp(layer.band):.2f}",
                )
                for layer in self.layers
            ),
        ]
        lines = columns(rows, left=()).split("\n")
        if len(lines) > 42:
            lines = [*lines[:22], "...".rjust(len(lines[1]) // 2), *lines[-20:]]
        return "\n".join(lines)

    def explain(self) -> str:
        """The verdict, what it rests on, and the remedy, in sentences."""
        said = [f"{self.verdict}: {_MEANING[self.verdict] if not self.reason else self.reason}."]
        if self.depth and math.isfinite(self.rate):
            measured = math.exp(self.measured_rate)
            said.append(
                f"From the last layer to the first ({self.depth} factors) the gradient's squared norm changes by "
                f"{math.exp(self.rate):.4g} a layer at infinite width"
                + (
                    f", measured {measured:.4g} +- {measured * self.rate_error:.2g} over {self.num_seeds} seeds."
                    if math.isfinite(measured)
                    else "."
                )
            )
        elif self.depth and math.isfinite(self.measured_rate):
            said.append(
                f"Measured over {self.num_seeds} seeds it changes by {math.exp(self.measured_rate):.4g} +- "
                f"{math.exp(self.measured_rate) * self.rate_error:.2g} a layer."
            )
        if math.isfinite(self.vanishing_depth):
            said.append(f"If every layer did so, they would come down to 1e-6 after {self.vanishing_depth:.0f} layers.")
        if math.isfinite(self.exploding_depth):
            said.append(f"If every layer did so, they would go up to 1e6 after {self.exploding_depth:.0f} layers.")
        if self.remedy:
            said.append(self.remedy)
        said.extend(self.notes)
        return "\n".join(said)

    def __str__(self) -> str:
        return f"{self.table()}\n{self.explain()}" if self.layers else self.explain()

    def plot(self) -> "Figure":
        """Gradients and moments by layer: theory dashed, measured with standard errors."""
        from jaxcalc import style

        figure, axes = style.subplots(1, 2, width=7.0, height=2.8)
        numbers = np.arange(1, len(self.layers) + 1)
        column = lambda name: np.array([getattr(layer, name) for layer in self.layers])
        for axis, predicted, measured, error in (
            (axes[0], column("factor"), column("measured_factor"), column("factor_error") * column("measured_factor")),
            (axes[1], column("moment"), column("measured_moment"), column("moment_error")),
        ):
            axis.errorbar(
                numbers, measured, yerr=error, fmt="o", markersize=3, color=style.COLORS["blue"], label="measured"
            )
            if np.any(np.isfinite(predicted)):
                axis.plot(numbers, predicted, **style.THEORY, label="infinite width")
            shown = np.concatenate([each[np.isfinite(each) & (each > 0)] for each in (predicted, measured)])
            if shown.size and shown.max() > 5 * shown.min():  # within less than a decade logarithms have few ticks
                axis.set_yscale("log")
            axis.set_xlabel("layer")
        axes[0].set_ylabel(r"gradient's factor $\chi$")
        axes[1].set_ylabel("mean square of the layer")
        axes[1].legend(frameon=False)
        figure.set_label(f"Factor and moment by layer over {self.num_seeds} seeds; verdict: {self.verdict}.")
        return figure


_MEANING: dict[str, str] = {
    "ordered": "gradients vanish with depth",
    "critical": "gradients neither vanish nor explode faster than a power of depth",
    "chaotic": "gradients explode with depth",
    "normalised": "the scale of the weights does not change what gradients do",
    "dead": "no gradient passes",
    "outside the theory": "nothing is predicted",
}


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.4g}"


def _measured(value: float, error: float) -> str:
    if math.isnan(value):
        return ""
    return f"{value:.4g} +- {error:.1g}" if math.isfinite(error) else f"{value:.4g}"

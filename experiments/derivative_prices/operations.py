"""Are operations read off a program what one counts by hand?"""

import numpy as np
import pydantic

from experiments._survey import flat
from experiments.derivative_prices import complete
from jaxcalc import lab, style
from jaxcalc.lab import Finding, Variable, below, digits

kind = "host"
dtype = "float32"


class Config(lab.Config):
    program: str = "matrix product"
    """a program of jaxcalc.scenarios.counted, whose operations have a closed form"""
    size: int = pydantic.Field(64, ge=8)
    """n in that form"""

    @pydantic.field_validator("program")
    @classmethod
    def _counted(cls, name):
        from jaxcalc.scenarios import counted

        return counted.make(name, 8) and name


VARIABLES = {
    "name": Variable((), "", "the program"),
    "formula": Variable((), "", "its operations in closed form"),
    "hand_flops": Variable((), "", "operations by hand, a multiply-add being two, without transcendentals"),
    "hand_transcendentals": Variable((), "", "transcendentals by hand"),
    "flops": Variable((), "", "operations read off the program"),
    "transcendentals": Variable((), "", "transcendentals read off the program"),
    "xla_operations": Variable((), "", "both by XLA's count; NaN where it does not see all"),
}


def run(config, key):
    """Price one program from shapes alone, beside the count by hand and XLA's."""
    from jaxcalc.programs.compiled import executable
    from jaxcalc.programs.cost import cost
    from jaxcalc.scenarios import counted

    hand = counted.make(config.program, config.size)
    priced = cost(hand.fun, *hand.arguments)
    return {
        "name": np.array(config.program),
        "formula": np.array(hand.formula),
        "hand_flops": np.array(float(hand.flops)),
        "hand_transcendentals": np.array(float(hand.transcendentals)),
        "flops": np.array(float(priced.flops)),
        "transcendentals": np.array(float(priced.transcendentals)),
        "xla_operations": np.array(executable(hand.fun, *hand.arguments).operations),
    }


def _errors(data):
    """The larger relative error of a program's two counts."""
    flops, transcendentals = data["hand_flops"], data["hand_transcendentals"]
    # A transcendental that is not there by hand is measured against all operations.
    whole = np.where(transcendentals > 0, transcendentals, flops + transcendentals)
    gaps = abs(data["flops"] - flops), abs(data["transcendentals"] - transcendentals)
    return np.maximum(gaps[0] / abs(flops), gaps[1] / abs(whole))


def _as_by_hand(dataset):
    complete(dataset, "name")
    data = flat(dataset, VARIABLES, "name")
    errors = _errors(data)
    worst = int(np.argmax(errors))
    measured = f"worst of {len(errors)} {errors[worst]:.2%} ({data['name'][worst]})"
    return Finding(below(errors), measured=measured)


def tables(dataset):
    data = flat(dataset, VARIABLES, "name")
    total = data["flops"] + data["transcendentals"]
    rows = [
        {
            "program": str(name),
            "operations by hand": str(data["formula"][i]),
            "and transcendentals": int(data["hand_transcendentals"][i]),
            "by hand": digits(data["hand_flops"][i] + data["hand_transcendentals"][i], 6),
            "read off": digits(total[i], 6),
            "XLA": digits(data["xla_operations"][i], 6),
            "error": f"{_errors(data)[i]:.2%}",
        }
        for i, name in enumerate(data["name"])
    ]
    return {"Operations by hand, as read off the program, and by XLA's count": rows}


def figures(dataset):
    data = flat(dataset, VARIABLES, "name")
    if len(data["name"]) < 2:
        return {}
    hand = data["hand_flops"] + data["hand_transcendentals"]
    rows = np.arange(len(hand))
    figure, axis = style.subplots(width=5.2, height=0.19 * len(rows) + 1.0)
    axis.axvspan(0.95, 1.05, color="#EDEDED", linewidth=0, zorder=0)
    axis.axvline(1.0, **{**style.THEORY, "marker": None})
    xla = data["xla_operations"] / hand
    ours = (data["flops"] + data["transcendentals"]) / hand
    low, high, orange = 0.8, 1.25, style.COLORS["orange"]
    hollow = {"color": orange, "fillstyle": "none", "markeredgewidth": 1.0}
    style.name_rows(axis, data["name"])
    axis.plot(ours, rows, "o", color=style.COLORS["blue"], label="read off the program", zorder=3)
    axis.plot(np.clip(xla, low, high), rows, "D", label="XLA's count", **hollow)
    words = {"va": "center", "fontsize": 7, "color": style.ink(orange), "textcoords": "offset points"}
    for row in rows[~((low <= xla) & (xla <= high))]:
        end, shift, side = (low, 6, "left") if xla[row] < low else (high, -6, "right")
        text = "not counted" if np.isnan(xla[row]) else f"{xla[row]:.2g}"
        axis.annotate(text, (end, row), (shift, 0), ha=side, **words)
    axis.set(xlim=(low - 0.02, high + 0.02), xlabel="operations over the count by hand (band: 5 %)")
    figure.legend(loc="outside upper center", ncols=2)
    figure.set_label("Operations as read off each program, over a count by hand; XLA's count where it sees them all.")
    return {"operations": figure}


claims = {"operations-as-by-hand": _as_by_hand}

"""The one look of all figures: sizes, type, a fixed colour and marker per method, and the chart.

Figures are built without pyplot, so nothing global is left behind, and drawn inside ``context()``.
"""

from jaxcalc.style.cells import cells
from jaxcalc.style.chart import chart, label, label_ends
from jaxcalc.style.looks import (
    COLORS,
    COLUMN,
    PAGE,
    THEORY,
    context,
    ink,
    looks,
    method,
    sequence,
    subplots,
)
from jaxcalc.style.rows import mark_left, name_rows, rows, ticks

__all__ = [
    "COLORS",
    "COLUMN",
    "PAGE",
    "THEORY",
    "cells",
    "chart",
    "context",
    "ink",
    "label",
    "label_ends",
    "looks",
    "mark_left",
    "method",
    "name_rows",
    "rows",
    "sequence",
    "subplots",
    "ticks",
]

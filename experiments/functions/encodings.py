"""Positional encodings: are they and their slopes what sines and cosines say, and is a shift a rotation?"""

import numpy as np
import pydantic

from jaxcalc import lab, style
from jaxcalc.lab import Variable, below, jax, jnp

kind = "host"


class Config(lab.Config):
    width: int = pydantic.Field(16, ge=2, multiple_of=2)
    """entries of an encoding"""
    positions: int = pydantic.Field(200, ge=10)
    """positions that are encoded"""
    shift: float = 7.0
    """distance between two positions"""


VARIABLES = {
    "position": Variable(("position",), "", "position"),
    "entry": Variable(("entry",), "", "entry of the encoding"),
    "code": Variable(("position", "entry"), "", "encoding of the position"),
    "slope": Variable(("position", "entry"), "", "its derivative in the position, by jax.jacfwd"),
    "closed_form": Variable(("position", "entry"), "", "the same: omega cos and -omega sin"),
    "shifted": Variable(("position", "entry"), "", "encoding of the position, shifted"),
    "rotated": Variable(("position", "entry"), "", "the encoding turned by the shift, pair by pair"),
    "product": Variable(("position",), "", "inner product of a position's encoding with the shifted one's"),
}


def run(config, key):
    from jaxcalc.functions.encodings import frequencies, rotate, sinusoidal

    encode = lambda t: sinusoidal(t, config.width)
    positions = jnp.arange(config.positions, dtype=float)
    encoding, slope = (jax.vmap(fun)(positions) for fun in (encode, jax.jacfwd(encode)))
    omega = frequencies(config.width)
    pairs = jnp.stack([omega * jnp.cos(positions[:, None] * omega), -omega * jnp.sin(positions[:, None] * omega)], -1)
    shifted = jax.vmap(encode)(positions + config.shift)
    return {
        "position": positions,
        "entry": np.arange(config.width),
        "code": encoding,
        "slope": slope,
        "closed_form": pairs.reshape(slope.shape),
        "shifted": shifted,
        "rotated": rotate(encoding, config.shift),
        "product": (encoding * shifted).sum(1),
    }


def figures(dataset):
    shown = dataset.sel(entry=[2, 4, 6])
    figure, panels = style.chart(
        {"encoding": shown.code, "its slope": shown.slope},
        "position",
        col="entry",
        width="page",
        height=2.3,
        legend="below",
    )
    for panel, entry in zip(panels.flat, shown.entry.values):
        panel.set_title(f"entry {entry}")
    figure.set_label("Three entries of a sinusoidal positional encoding and their derivative in the position.")
    return {"encodings": figure}


claims = {
    "positional-encoding-slope": lambda data: below(abs(data.slope - data.closed_form)),
    "positional-shift-is-a-rotation": lambda data: below(abs(data.shifted - data.rotated)),
    "positional-product-depends-on-the-distance": lambda data: below(abs(data["product"] - data["product"][0])),
}

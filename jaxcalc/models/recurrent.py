"""Recurrent networks as one scan over time: plain, LSTM and GRU cells, their spectra and gates chosen at the start.

A cell is three pure functions; a network runs one over a sequence, time being the leading axis.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp

from jaxcalc import checks
from jaxcalc.functions.activations import Activation, activation

__all__ = [
    "CELLS",
    "SPECTRA",
    "Cell",
    "CellName",
    "GRUParameters",
    "LSTMState",
    "RecurrentNetwork",
    "RecurrentParameters",
    "SpectrumName",
    "chrono_bias",
    "draw_recurrent",
    "gru_cell",
    "lstm_cell",
    "make_cell",
    "recurrent_network",
    "rnn_cell",
]

CellName = Literal["rnn", "lstm", "gru"]
CELLS: tuple[CellName, ...] = get_args(CellName)
SpectrumName = Literal["gaussian", "orthogonal", "identity", "eigenvalues"]
SPECTRA: tuple[SpectrumName, ...] = get_args(SpectrumName)


class Cell(NamedTuple):
    """One step in time as three pure functions; the state is a PyTree of arrays ``(..., width)``."""

    init: Callable[[jax.Array], Any]
    """``init(key) -> params``"""
    start: Callable[..., Any]
    """``start(shape, dtype) -> state``: the state before the first step, of batch shape ``shape``"""
    step: Callable[[Any, Any, jax.Array], Any]
    """``step(params, state, x) -> state``, with ``x`` of shape ``(..., num_inputs)``"""
    output: Callable[[Any], jax.Array]
    """the part of the state that is read out, ``(..., width)``"""
    width: int


class RecurrentParameters(NamedTuple):
    """What a cell learns; gates stand side by side along the last axis."""

    inputs: jax.Array
    """``(num_inputs, gates * width)``"""
    recurrent: jax.Array
    """``(width, gates * width)``"""
    biases: jax.Array
    """``(gates * width,)``"""


class LSTMState(NamedTuple):
    """What an LSTM carries through time: its output h and its cell c."""

    hidden: jax.Array
    cell: jax.Array


def draw_recurrent(
    spectrum: str,
    key: jax.Array,
    width: int,
    *,
    radius: jax.typing.ArrayLike = 1.0,
    eigenvalues: Sequence[float] | jax.typing.ArrayLike | None = None,
    departure: jax.typing.ArrayLike = 0.0,
) -> jax.Array:
    """A square matrix whose eigenvalues are chosen.

    Args:
      spectrum: ``"gaussian"``: normal entries of variance radius^2/width, whose eigenvalues fill the disc of that
        radius as the width grows (of one draw the largest strays by about width^(-1/2)); ``"orthogonal"``: radius
        times an orthogonal matrix; ``"identity"``: radius times the identity; ``"eigenvalues"``: Q^T (radius diag(l) +
        N) Q, with Q orthogonal, l the given ``eigenvalues`` and N strictly upper triangular.
      key: a key.
      width: rows and columns.
      radius: factor on the eigenvalues; may be traced.
      eigenvalues: real, of shape ``(width,)``; all 1 by default.
      departure: the Frobenius norm of N, Henrici's departure from normality; 0 is a symmetric matrix.

    Raises:
      ValueError: for an unknown spectrum, a radius or departure below 0, or eigenvalues where none are asked for.
    """
    who = "draw_recurrent"
    checks.integer(who, "width", width)
    checks.number(who, "radius", radius, least=0)
    checks.number(who, "departure", departure, least=0)
    if eigenvalues is not None and spectrum != "eigenvalues":
        raise ValueError(f"{who}: eigenvalues are for spectrum='eigenvalues', got spectrum={spectrum!r}.")
    match spectrum:
        case "gaussian":
            return jnp.asarray(radius) / width**0.5 * jax.random.normal(key, (width, width), float)
        case "orthogonal":
            return jnp.asarray(radius) * jax.nn.initializers.orthogonal()(key, (width, width), float)
        case "identity":
            return jnp.asarray(radius) * jnp.eye(width, dtype=float)
        case "eigenvalues":
            of_basis, of_upper = jax.random.split(key)
            values = jnp.ones(width) if eigenvalues is None else jnp.asarray(eigenvalues, float)
            checks.shaped(who, "eigenvalues", values.shape, width)
            basis = jax.nn.initializers.orthogonal()(of_basis, (width, width), float)
            upper = jnp.triu(jax.random.normal(of_upper, (width, width), float), 1)
            upper = upper / jnp.maximum(jnp.linalg.norm(upper), jnp.finfo(upper.dtype).tiny)
            return basis.T @ (radius * jnp.diag(values) + departure * upper) @ basis
    raise checks.unknown(who, "spectrum", spectrum, SPECTRA)


def chrono_bias(key: jax.Array, width: int, longest: float) -> jax.Array:
    """Biases of gates that keep: log of a uniform draw from [1, longest - 1], one time scale for each unit.

    Args:
      key: a key.
      width: units.
      longest: the longest lag to bridge, in steps; above 2.

    Source: C. Tallec, Y. Ollivier, Can recurrent neural networks warp time?, ICLR 2018.
    """
    checks.number("chrono_bias", "longest", longest, above=2)
    return jnp.log(jax.random.uniform(key, (width,), float, 1.0, longest - 1.0))


def rnn_cell(
    num_inputs: int,
    width: int,
    *,
    phi: Activation | str = "tanh",
    input_scale: jax.typing.ArrayLike = 1.0,
    bias: jax.typing.ArrayLike = 0.0,
    **spectrum: Any,
) -> Cell:
    """The plain cell: ``h' = phi(x U + h W + b)``.

    Args:
      num_inputs, width: sizes of input and state.
      phi: the activation, or its name; ``"linear"`` leaves the matrix alone.
      input_scale: standard deviation of U's entries times sqrt(num_inputs).
      bias: what b starts at, a number or ``(width,)``.
      spectrum: of W, see ``draw_recurrent``: ``spectrum``, ``radius``, ``eigenvalues``, ``departure``.

    Raises:
      ValueError: for a size below 1 or an unknown name.
    """
    phi = activation(phi) if isinstance(phi, str) else phi
    init = _initialiser("rnn_cell", num_inputs, width, [bias], input_scale, spectrum)

    def step(params, state, x):
        return phi(x @ params.inputs + state @ params.recurrent + params.biases)

    return Cell(init, lambda shape, dtype: jnp.zeros((*shape, width), dtype), step, lambda state: state, width)


def lstm_cell(
    num_inputs: int,
    width: int,
    *,
    forget_bias: jax.typing.ArrayLike = 1.0,
    input_bias: jax.typing.ArrayLike = 0.0,
    output_bias: jax.typing.ArrayLike = 0.0,
    input_scale: jax.typing.ArrayLike = 1.0,
    **spectrum: Any,
) -> Cell:
    """The long short-term memory: ``c' = f c + i g``, ``h' = o tanh(c')``.

    The gates i, f, o are ``sigmoid(x U + h W + b)``, the candidate g is ``tanh(x U + h W + b)``, each with its own U, W
    and b; in the parameters they stand in the order i, f, g, o.

    Args:
      num_inputs, width: sizes of input, and of each of h and c.
      forget_bias, input_bias, output_bias: what the gates' biases start at, numbers or ``(width,)``; may be traced.
      input_scale: standard deviation of U's entries times sqrt(num_inputs).
      spectrum: of each W, see ``draw_recurrent``.

    Source: S. Hochreiter, J. Schmidhuber, Neural Computation 1997; forget gate: F. Gers, J. Schmidhuber, F. Cummins,
      Neural Computation 2000.
    """
    init = _initialiser(
        "lstm_cell", num_inputs, width, [input_bias, forget_bias, 0.0, output_bias], input_scale, spectrum
    )

    def start(shape, dtype):
        return LSTMState(*(jnp.zeros((*shape, width), dtype) for _ in range(2)))

    def step(params, state, x):
        z = x @ params.inputs + state.hidden @ params.recurrent + params.biases
        i, f, g, o = jnp.split(z, 4, axis=-1)
        cell = jax.nn.sigmoid(f) * state.cell + jax.nn.sigmoid(i) * jnp.tanh(g)
        return LSTMState(jax.nn.sigmoid(o) * jnp.tanh(cell), cell)

    return Cell(init, start, step, lambda state: state.hidden, width)


class GRUParameters(NamedTuple):
    """A GRU's gates and its candidate, whose recurrent matrix sees what the reset gate lets through."""

    gates: RecurrentParameters
    """of the reset gate and the update gate, side by side"""
    candidate: RecurrentParameters


def gru_cell(
    num_inputs: int,
    width: int,
    *,
    update_bias: jax.typing.ArrayLike = 0.0,
    reset_bias: jax.typing.ArrayLike = 0.0,
    input_scale: jax.typing.ArrayLike = 1.0,
    **spectrum: Any,
) -> Cell:
    """The gated recurrent unit: ``h' = u h + (1 - u) tanh(x U + (r h) W + b)``.

    The gates r (reset) and u (update) are ``sigmoid(x U + h W + b)`` with matrices of their own. An update gate near 1
    keeps the state; some texts write 1 - u for it.

    Args:
      num_inputs, width: sizes of input and state.
      update_bias, reset_bias: what the gates' biases start at, numbers or ``(width,)``; may be traced.
      input_scale: standard deviation of U's entries times sqrt(num_inputs).
      spectrum: of each W, see ``draw_recurrent``.

    Source: K. Cho et al., EMNLP 2014.
    """
    gates = _initialiser("gru_cell", num_inputs, width, [reset_bias, update_bias], input_scale, spectrum)
    candidate = _initialiser("gru_cell", num_inputs, width, [0.0], input_scale, spectrum)

    def init(key):
        of_gates, of_candidate = jax.random.split(key)
        return GRUParameters(gates(of_gates), candidate(of_candidate))

    def step(params, state, x):
        z = x @ params.gates.inputs + state @ params.gates.recurrent + params.gates.biases
        reset, update = jnp.split(jax.nn.sigmoid(z), 2, axis=-1)
        own = params.candidate
        proposal = jnp.tanh(x @ own.inputs + (reset * state) @ own.recurrent + own.biases)
        return update * state + (1 - update) * proposal

    return Cell(init, lambda shape, dtype: jnp.zeros((*shape, width), dtype), step, lambda state: state, width)


def make_cell(name: str, num_inputs: int, width: int, **choices: Any) -> Cell:
    """A cell by name, ``"rnn"``, ``"lstm"`` or ``"gru"``, with that cell's choices.

    Raises:
      ValueError: if the name is unknown.
    """
    match name:
        case "rnn":
            return rnn_cell(num_inputs, width, **choices)
        case "lstm":
            return lstm_cell(num_inputs, width, **choices)
        case "gru":
            return gru_cell(num_inputs, width, **choices)
    raise checks.unknown("make_cell", "name", name, CELLS)


class RecurrentNetwork(NamedTuple):
    """A cell run over sequences, with a linear readout at every step."""

    init: Callable[[jax.Array], "NetworkParameters"]
    apply: Callable[..., jax.Array]
    trace: Callable[..., tuple[jax.Array, Any]]
    """what ``apply`` returns, and the states, the one before the first step first: leaves ``(time + 1, ..., width)``"""
    cell: Cell


class NetworkParameters(NamedTuple):
    """The parameters of a recurrent network."""

    cell: Any
    readout: jax.Array
    """``(width, num_outputs)``"""


def recurrent_network(
    cell: Cell, num_outputs: int, *, batch_first: bool = False, untied: int | None = None
) -> RecurrentNetwork:
    """A cell over a sequence, read out linearly at every step.

    Args:
      cell: from ``rnn_cell``, ``lstm_cell`` or ``gru_cell``.
      num_outputs: size of the readout.
      batch_first: sequences are ``(batch, time, num_inputs)``; by default ``(time, batch, num_inputs)``. One alone
        is ``(time, num_inputs)`` either way.
      untied: if given, so many steps each have parameters of their own, drawn independently, along the leading axis of
        the cell's: not a recurrence but what mean-field theory makes of one. Sequences must be that long.

    Returns:
      ``init(key)``; ``apply(params, x, *, truncation=None, probes=None, state=None)``, outputs at every step in the
      layout of ``x``; ``trace`` with the same arguments, whose states have time first whatever the layout.
      ``truncation=k`` stops the gradient at every k-th step, so that it goes back over at most k of them: truncated
      back-propagation through time. ``probes``, shaped like the states, are added to them; ``state`` is started from.

    Raises:
      ValueError: for ``num_outputs`` or ``truncation`` below 1, or an empty sequence.
    """
    checks.integer("recurrent_network", "num_outputs", num_outputs)
    if untied is not None:
        checks.integer("recurrent_network", "untied", untied)

    def init(key):
        of_cell, of_readout = jax.random.split(key)
        readout = jax.random.normal(of_readout, (cell.width, num_outputs), float) / cell.width**0.5
        if untied is not None:
            return NetworkParameters(jax.vmap(cell.init)(jax.random.split(of_cell, untied)), readout)
        return NetworkParameters(cell.init(of_cell), readout)

    def trace(params, x, *, truncation=None, probes=None, state=None):
        if truncation is not None:
            checks.integer("recurrent_network", "truncation", truncation)
        swapped = batch_first and x.ndim > 2
        x = jnp.swapaxes(x, 0, 1) if swapped else x
        if x.ndim < 2 or not x.shape[0]:
            raise ValueError(f"recurrent_network: x must be one step of inputs at least, got shape {x.shape}.")
        if state is None:
            dtype = jnp.result_type(x, params.readout)
            state = cell.start(x.shape[1:-1], dtype)
        first = state if probes is None else jax.tree.map(lambda a, p: a + p[0], state, probes)

        def step(state, inputs):
            index, x, probe, own = inputs
            if truncation is not None:
                cut = (index > 0) & (index % truncation == 0)
                state = jax.tree.map(lambda a: jnp.where(cut, jax.lax.stop_gradient(a), a), state)
            state = cell.step(params.cell if own is None else own, state, x)
            if probe is not None:
                state = jax.tree.map(jnp.add, state, probe)
            return state, state

        later = None if probes is None else jax.tree.map(lambda p: p[1:], probes)
        _, rest = jax.lax.scan(step, first, (jnp.arange(x.shape[0]), x, later, untied and params.cell))
        outputs = cell.output(rest) @ params.readout
        states = jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), first, rest)
        return jnp.swapaxes(outputs, 0, 1) if swapped else outputs, states

    def apply(params, x, **choices):
        return trace(params, x, **choices)[0]

    return RecurrentNetwork(init, apply, trace, cell)


def _initialiser(who, num_inputs, width, biases, input_scale, spectrum):
    """``init(key)`` of as many gates as there are biases, with a spectrum for each gate's matrix."""
    checks.integer(who, "num_inputs", num_inputs)
    checks.integer(who, "width", width)
    checks.number(who, "input_scale", input_scale, least=0)
    choices = {"spectrum": "gaussian", **spectrum}
    checks.one_of(who, "spectrum", choices["spectrum"], SPECTRA)
    unknown = set(choices) - {"spectrum", "radius", "eigenvalues", "departure"}
    if unknown:
        raise TypeError(f"{who}: unknown choices {', '.join(sorted(unknown))}.")

    def init(key):
        of_inputs, *of_gates = jax.random.split(key, 1 + len(biases))
        shape = (num_inputs, len(biases) * width)
        matrices = [draw_recurrent(key=k, width=width, **choices) for k in of_gates]
        return RecurrentParameters(
            input_scale / num_inputs**0.5 * jax.random.normal(of_inputs, shape, float),
            jnp.concatenate(matrices, axis=1),
            jnp.concatenate([jnp.broadcast_to(jnp.asarray(bias, float), (width,)) for bias in biases]),
        )

    return init

"""primitives: the one table of what an operation of a program is; whoever reads programs asks it.

One row a primitive. What has no row is unknown: a reader must take it at its worst, so that it is slow and never wrong.
What only holds other programs (loops, branches, calls, ``custom_jvp_call``) is taken apart by ``walk`` and has none.
"""

from typing import Literal, NamedTuple

__all__ = ["MOVEMENTS", "TABLE", "Kind", "Row", "of"]

# fmt: off
Kind = Literal[
    "elementwise", "identity", "rename", "reorder", "part", "join", "repeat", "bits", "read", "write", "source",
    "reduction", "cumulative", "window", "product", "sort", "transform", "matrix", "random", "key", "token", "unknown",
]
# fmt: on


class Row(NamedTuple):
    """What one primitive is.

    Args:
      kind: how the elements of its results come from those of its operands; the table says what each kind means.
      linear: in all floating-point operands together, or so piece by piece: the second derivative vanishes.
      zero: where a result is certainly zero: "all" if all operands are, "first" if the first is, "" for no such rule.
      operations: floating-point operations per element; ``None`` for what is not counted so.
      divides: a division or a square root, which take several times as long as a product.
      nanoseconds: of a transcendental function, per element, in float32 (and narrower) and in float64, on one core of
        an x86 CPU. Those that XLA writes out as polynomials vectorise, the others are library calls.
      infinite: at finite places the "value" itself may be, or the "slope" alone.
      inlined: XLA's library of reductions on the CPU computes it on the way in.
      trailing: axes of the first operand that linear algebra mixes; the axes before them are lanes.
      by_columns: the library that computes it stores matrices by columns.
      in_place: the operand whose memory the result may take.
    """

    kind: Kind
    linear: bool = False
    zero: Literal["", "all", "first"] = ""
    operations: int | None = None
    divides: bool = False
    nanoseconds: tuple[float, float] | None = None
    infinite: Literal["", "value", "slope"] = ""
    inlined: bool = False
    trailing: int = 0
    by_columns: bool = False
    in_place: int | None = None


MOVEMENTS = frozenset({"identity", "rename", "reorder", "part", "join", "repeat"})
"""Kinds that move elements to places that the parameters alone tell."""

_UNKNOWN = Row("unknown")


def of(name: str) -> Row:
    """The row of a primitive."""
    return TABLE.get(name, _UNKNOWN)


def _mover(kind: Kind, *, inlined: bool = False) -> Row:
    return Row(kind, linear=True, zero="all", inlined=inlined)


TABLE: dict[str, Row] = {
    # elementwise: element i of the result from element i of each operand
    "abs": Row("elementwise", zero="all", operations=1, inlined=True),
    "acos": Row("elementwise", nanoseconds=(17.0, 13.0), infinite="slope"),
    "acosh": Row("elementwise", nanoseconds=(1.5, 8.4), infinite="slope"),
    "add": Row("elementwise", linear=True, zero="all", operations=1, inlined=True),
    "add_any": Row("elementwise", linear=True, zero="all", operations=1, inlined=True),
    "and": Row("elementwise", zero="all", operations=1),
    "asin": Row("elementwise", zero="all", nanoseconds=(11.0, 13.0), infinite="slope"),
    "asinh": Row("elementwise", zero="all", nanoseconds=(1.5, 8.4)),
    "atan": Row("elementwise", zero="all", nanoseconds=(9.0, 4.0)),
    "atan2": Row("elementwise", nanoseconds=(10.0, 11.0), infinite="slope"),
    "atanh": Row("elementwise", zero="all", nanoseconds=(1.2, 8.0), infinite="value"),
    "bessel_i0e": Row("elementwise", nanoseconds=(10.0, 20.0)),
    "bessel_i1e": Row("elementwise", nanoseconds=(10.0, 20.0)),
    "cbrt": Row("elementwise", zero="all", nanoseconds=(13.0, 13.0), infinite="slope"),
    "ceil": Row("elementwise", linear=True, zero="all", operations=1, inlined=True),
    "clamp": Row("elementwise", linear=True, operations=2),
    "clz": Row("elementwise", operations=1),
    "complex": Row("elementwise", linear=True, zero="all", operations=0),
    "conj": Row("elementwise", linear=True, zero="all", operations=1),
    "convert_element_type": Row("elementwise", linear=True, zero="all", operations=0, inlined=True),
    "cos": Row("elementwise", nanoseconds=(3.4, 5.2)),
    "cosh": Row("elementwise", nanoseconds=(0.7, 2.6)),
    "digamma": Row("elementwise", nanoseconds=(9.7, 24.0), infinite="value"),
    "div": Row("elementwise", zero="first", divides=True, infinite="value", inlined=True),
    "eq": Row("elementwise", operations=1),
    "eq_to": Row("elementwise", operations=1),
    "erf": Row("elementwise", zero="all", nanoseconds=(0.2, 5.4), inlined=True),
    "erf_inv": Row("elementwise", zero="all", nanoseconds=(1.4, 11.0), infinite="value"),
    "erfc": Row("elementwise", nanoseconds=(1.0, 9.0)),
    "exp": Row("elementwise", nanoseconds=(0.2, 0.7), inlined=True),
    "exp2": Row("elementwise", nanoseconds=(0.3, 1.2)),
    "expm1": Row("elementwise", zero="all", nanoseconds=(0.5, 1.6), inlined=True),
    "floor": Row("elementwise", linear=True, zero="all", operations=1, inlined=True),
    "ge": Row("elementwise", operations=1),
    "gt": Row("elementwise", operations=1),
    "igamma": Row("elementwise", nanoseconds=(150.0, 300.0), infinite="slope"),
    "igamma_grad_a": Row("elementwise", nanoseconds=(300.0, 600.0)),
    "igammac": Row("elementwise", nanoseconds=(150.0, 300.0), infinite="slope"),
    "imag": Row("elementwise", linear=True, zero="all", operations=0),
    "integer_pow": Row("elementwise", operations=1, infinite="value", inlined=True),
    "is_finite": Row("elementwise", operations=1),
    "le": Row("elementwise", operations=1),
    "le_to": Row("elementwise", operations=1),
    "lgamma": Row("elementwise", nanoseconds=(9.2, 24.0), infinite="value"),
    "log": Row("elementwise", nanoseconds=(0.3, 4.0), infinite="value", inlined=True),
    "log1p": Row("elementwise", zero="all", nanoseconds=(0.6, 6.4), infinite="value", inlined=True),
    "log2": Row("elementwise", nanoseconds=(0.3, 4.0), infinite="value"),
    "logistic": Row("elementwise", nanoseconds=(0.3, 1.3), inlined=True),
    "lt": Row("elementwise", operations=1),
    "lt_to": Row("elementwise", operations=1),
    "max": Row("elementwise", linear=True, zero="all", operations=1, inlined=True),
    "min": Row("elementwise", linear=True, zero="all", operations=1, inlined=True),
    "mul": Row("elementwise", zero="all", operations=1, inlined=True),
    "mulhi": Row("elementwise", operations=1),
    "ne": Row("elementwise", operations=1),
    "neg": Row("elementwise", linear=True, zero="all", operations=1, inlined=True),
    "nextafter": Row("elementwise", operations=1),
    "not": Row("elementwise", operations=1),
    "one_minus_square": Row("elementwise", operations=2),
    "or": Row("elementwise", zero="all", operations=1),
    "polygamma": Row("elementwise", nanoseconds=(60.0, 120.0), infinite="value"),
    "population_count": Row("elementwise", operations=1),
    "pow": Row("elementwise", nanoseconds=(4.7, 12.0), infinite="slope", inlined=True),
    "random_gamma_grad": Row("elementwise", nanoseconds=(300.0, 600.0)),
    "real": Row("elementwise", linear=True, zero="all", operations=0),
    "reduce_precision": Row("elementwise", linear=True, zero="all", operations=0),
    "regularized_incomplete_beta": Row("elementwise", nanoseconds=(300.0, 600.0), infinite="slope"),
    "rem": Row("elementwise", zero="first", divides=True),
    "round": Row("elementwise", linear=True, zero="all", operations=1),
    "rsqrt": Row("elementwise", divides=True, infinite="value", inlined=True),
    "select_n": Row("elementwise", linear=True, zero="all", operations=0),
    "shift_left": Row("elementwise", zero="first", operations=1),
    "shift_right_arithmetic": Row("elementwise", operations=1),
    "shift_right_logical": Row("elementwise", operations=1),
    "sign": Row("elementwise", linear=True, zero="all", operations=1, inlined=True),
    "sin": Row("elementwise", zero="all", nanoseconds=(3.5, 5.7)),
    "sinh": Row("elementwise", zero="all", nanoseconds=(1.5, 5.2)),
    "sqrt": Row("elementwise", zero="all", divides=True, infinite="slope", inlined=True),
    "square": Row("elementwise", zero="all", operations=1, infinite="value", inlined=True),
    "sub": Row("elementwise", linear=True, zero="all", operations=1, inlined=True),
    "tan": Row("elementwise", zero="all", nanoseconds=(8.3, 7.5)),
    "tanh": Row("elementwise", zero="all", nanoseconds=(0.2, 0.5), inlined=True),
    "tie": Row("elementwise", operations=0),
    "xor": Row("elementwise", zero="all", operations=1),
    "zeta": Row("elementwise", nanoseconds=(60.0, 120.0), infinite="value"),
    # identity: each result is the operand of its number, under another name, sharding or place; free
    "copy": _mover("identity"),
    "device_put": _mover("identity"),
    "layout_constraint": _mover("identity"),
    "name": _mover("identity"),
    "optimization_barrier": _mover("identity"),
    "pbroadcast": _mover("identity"),
    "pvary": _mover("identity"),
    "reduced_vary_cast": _mover("identity"),
    "reduced_vary_cast_p": _mover("identity"),
    "relayout": _mover("identity"),
    "reshard": _mover("identity"),
    "sharding_constraint": _mover("identity"),
    "stop_gradient": _mover("identity"),
    "vary_unreduced_cast": _mover("identity"),
    "vary_unreduced_cast_p": _mover("identity"),
    "with_memory_space_constraint": _mover("identity"),
    # rename: the same elements in the same order, under another shape
    "expand_dims": _mover("rename"),
    "reshape": _mover("rename"),
    "squeeze": _mover("rename"),
    # reorder: the same elements in another order
    "reorder": _mover("reorder"),
    "rev": _mover("reorder"),
    "transpose": _mover("reorder"),
    # part: some of the elements
    "slice": _mover("part"),
    "split": _mover("part"),
    "unstack": _mover("part"),
    # join: the elements of several operands, or of one and padding
    "concatenate": _mover("join"),
    "pad": _mover("join", inlined=True),
    "stack": _mover("join"),
    # repeat: some elements several times
    "broadcast_in_dim": _mover("repeat", inlined=True),
    "tile": _mover("repeat"),
    # bits: the same bits, read as another type
    "bitcast_convert_type": Row("bits"),
    # read: elements at places that are computed
    "dynamic_slice": Row("read", linear=True, zero="all"),
    "gather": Row("read", linear=True, zero="all"),
    # write: the first operand, with updates at places that are computed
    "dynamic_update_slice": Row("write", linear=True, zero="all", in_place=0),
    "scatter": Row("write", linear=True, zero="all", in_place=0),
    "scatter-add": Row("write", linear=True, zero="all", in_place=0),
    "scatter-max": Row("write", in_place=0),
    "scatter-min": Row("write", in_place=0),
    "scatter-mul": Row("write", in_place=0),
    "scatter-sub": Row("write", linear=True, zero="all", in_place=0),
    # source: elements from nothing
    "axis_index": Row("source"),
    "iota": Row("source"),
    # reduction
    "argmax": Row("reduction"),
    "argmin": Row("reduction"),
    "reduce": Row("reduction"),
    "reduce_and": Row("reduction", zero="all"),
    "reduce_max": Row("reduction", linear=True, zero="all"),
    "reduce_min": Row("reduction", linear=True, zero="all"),
    "reduce_or": Row("reduction", zero="all"),
    "reduce_prod": Row("reduction", zero="all"),
    "reduce_sum": Row("reduction", linear=True, zero="all"),
    "reduce_xor": Row("reduction"),
    # cumulative
    "cumlogsumexp": Row("cumulative"),
    "cummax": Row("cumulative", linear=True, zero="all"),
    "cummin": Row("cumulative", linear=True, zero="all"),
    "cumprod": Row("cumulative", zero="all"),
    "cumsum": Row("cumulative", linear=True, zero="all"),
    # window
    "reduce_window": Row("window"),
    "reduce_window_max": Row("window"),
    "reduce_window_min": Row("window"),
    "reduce_window_sum": Row("window", linear=True, zero="all"),
    "select_and_gather_add": Row("window"),
    "select_and_scatter": Row("window"),
    "select_and_scatter_add": Row("window"),
    # product
    "conv_general_dilated": Row("product", zero="all"),
    "dot_general": Row("product", zero="all"),
    "ragged_dot_general": Row("product"),
    # sort: elements along an axis in an order that they decide themselves
    "approx_top_k": Row("sort"),
    "sort": Row("sort", linear=True, zero="all", in_place=0),
    "top_k": Row("sort", linear=True),
    # transform
    "fft": Row("transform", linear=True, zero="all"),
    # matrix: dense within each lane: linear algebra on the trailing axes of the first operand
    "cholesky": Row("matrix", trailing=2, by_columns=True, in_place=0),
    "cholesky_update": Row("matrix", trailing=2),
    "eig": Row("matrix", trailing=2, by_columns=True),
    "eigh": Row("matrix", trailing=2, by_columns=True, in_place=0),
    "geqp3": Row("matrix", trailing=2),
    "geqrf": Row("matrix", trailing=2, by_columns=True, in_place=0),
    "hessenberg": Row("matrix", trailing=2),
    "householder_product": Row("matrix", trailing=2, by_columns=True, in_place=0),
    "lu": Row("matrix", trailing=2, by_columns=True, in_place=0),
    "lu_pivots_to_permutation": Row("matrix"),
    "ormqr": Row("matrix", trailing=2),
    "qr": Row("matrix", trailing=2, by_columns=True),
    "schur": Row("matrix", trailing=2, by_columns=True),
    "svd": Row("matrix", trailing=2, by_columns=True),
    "symmetric_product": Row("matrix", trailing=2),
    "triangular_solve": Row("matrix", zero="all", trailing=2, by_columns=True, in_place=1),
    "tridiagonal": Row("matrix", trailing=2),
    "tridiagonal_solve": Row("matrix", trailing=1),
    # random
    "philox2x32": Row("random"),
    "philox4x32": Row("random"),
    "random_bits": Row("random"),
    "random_fold_in": Row("random"),
    "random_gamma": Row("random"),
    "random_seed": Row("random"),
    "random_split": Row("random"),
    "rng_bit_generator": Row("random"),
    "rng_uniform": Row("random"),
    "threefry2x32": Row("random"),
    "threefry4x32": Row("random"),
    # key: a random key as another type
    "random_clone": Row("key"),
    "random_unwrap": Row("key"),
    "random_wrap": Row("key"),
    # token
    "after_all": Row("token"),
    "create_token": Row("token"),
    "dce_sink": Row("token"),
}

"""Does the largest eigenvalue of a recurrence decide whether its gradients vanish or explode?

A linear recurrence multiplies the gradient by one matrix at every step: symmetric, orthogonal and non-normal ones of
equal spectral radius, one whose largest eigenvalue by size is negative, and a driven tanh network.
"""

import numpy as np
import pydantic

from jaxcalc import lab, style
from jaxcalc.lab import Finding, NotJudged, Variable, above, below, close, jax, jnp, less

kind = "host"

MATRICES = ("symmetric", "orthogonal", "non-normal")


class Config(lab.Config):
    radii: tuple[float, ...] = (0.9, 1.0, 1.1)
    """spectral radii"""
    width: int = pydantic.Field(32, ge=4)
    """units"""
    num_lags: int = pydantic.Field(500, ge=100)
    """steps back"""
    departure: float = pydantic.Field(8.0, gt=0)
    """Frobenius norm of the non-normal matrices' part above the diagonal of their Schur form"""
    driven_radius: float = pydantic.Field(1.5, gt=1)
    """spectral radius of the driven tanh network"""
    negative: float = pydantic.Field(-1.05, lt=-1)
    """the least eigenvalue of a symmetric matrix whose other eigenvalues are between -0.5 and 0.5"""


VARIABLES = {
    "matrix": Variable(("matrix",), "", "kind of matrix"),
    "radius": Variable(("radius",), "", "spectral radius"),
    "lag": Variable(("lag",), "steps", "time lag"),
    "norm": Variable(("matrix", "radius", "lag"), "", "2-norm of the Jacobian of the state in the state before"),
    "measured_radius": Variable(("matrix", "radius"), "", "largest size of an eigenvalue, as computed"),
    "negative_norm": Variable(("lag",), "", "the same where the largest eigenvalue by size is negative"),
    "largest_eigenvalue": Variable((), "", "the largest eigenvalue of that matrix"),
    "driven_norm": Variable(("lag",), "", "the same of a tanh network driven by noise"),
    "driven_radius_measured": Variable((), "", "spectral radius of its matrix"),
    "residual": Variable((), "", "Jacobian of a scan of 100 steps less the matrix's power, over the power"),
}


def run(config, key):
    from jaxcalc.models import draw_recurrent

    of_basis, of_driven, of_residual = jax.random.split(key, 3)
    width = config.width
    values = np.linspace(-0.5, 1.0, width)
    draws = {
        "symmetric": {"spectrum": "eigenvalues", "eigenvalues": values},
        "orthogonal": {"spectrum": "orthogonal"},
        "non-normal": {"spectrum": "eigenvalues", "eigenvalues": values, "departure": config.departure},
    }
    matrices = [
        [draw_recurrent(key=of_basis, width=width, radius=radius, **draws[name]) for radius in config.radii]
        for name in MATRICES
    ]
    one_negative = np.linspace(-0.5, 0.5, width)
    one_negative[0] = config.negative
    negative = draw_recurrent("eigenvalues", of_basis, width, eigenvalues=one_negative)
    driven = draw_recurrent("gaussian", of_driven, width)
    driven = driven * config.driven_radius / np.abs(np.linalg.eigvals(driven)).max()
    return {
        "matrix": np.array(MATRICES),
        "radius": np.array(config.radii),
        "lag": np.arange(config.num_lags + 1),
        "norm": np.array([[_norms(config, matrix) for matrix in row] for row in matrices]),
        "measured_radius": np.abs(np.linalg.eigvals(np.array(matrices))).max(-1),
        "negative_norm": _norms(config, negative),
        "largest_eigenvalue": np.linalg.eigvals(negative).real.max(),
        "driven_norm": _norms(config, driven, "tanh", jax.random.normal(of_driven, (config.num_lags, width), float)),
        "driven_radius_measured": np.abs(np.linalg.eigvals(driven)).max(),
        "residual": _residual(matrices[1][-1], of_residual),
    }


def _network(matrix, phi="linear"):
    """A recurrent network with that matrix, and its parameters."""
    from jaxcalc.models import recurrent_network, rnn_cell

    width = len(matrix)
    network = recurrent_network(rnn_cell(width, width, phi=phi), 1)
    params = network.init(jax.random.key(0))
    return network, params._replace(cell=params.cell._replace(recurrent=matrix))


def _norms(config, matrix, phi="linear", inputs=None):
    """2-norms of the Jacobian of the last state in those before it, by lag."""
    from jaxcalc.models import lagged_jacobians, state_jacobians

    inputs = jnp.zeros((config.num_lags, config.width)) if inputs is None else inputs
    network, params = _network(matrix, phi)
    _, states = network.trace(params, inputs)
    products = lagged_jacobians(state_jacobians(network.cell.step, params.cell, states, inputs))
    return np.linalg.norm(np.asarray(products), 2, axis=(1, 2))


def _residual(matrix, key):
    """How far AD's Jacobian through a scan of 100 steps is from the power of the one matrix."""
    network, params = _network(matrix)
    inputs = jax.random.normal(key, (100, len(matrix)), float)
    start = jnp.zeros(len(matrix))
    through = jax.jit(jax.jacobian(lambda state: network.trace(params, inputs, state=state)[1][-1]))(start)
    power = np.linalg.matrix_power(np.asarray(matrix).T, 100)
    return np.linalg.norm(through - power) / np.linalg.norm(power)


def _hundred(dataset):
    at = lambda matrix, radius: float(dataset.norm.sel(matrix=matrix, radius=radius, lag=100))
    if not {0.9, 1.0, 1.1} <= set(dataset.radius.values.tolist()):
        raise NotJudged("needs the radii 0.9, 1 and 1.1")
    found = {
        "rho_1_1": at("symmetric", 1.1),
        "rho_0_9": at("symmetric", 0.9),
        "orthogonal": at("orthogonal", 1.0),
    }
    return Finding(close(found, relative=True), figure="spectra")


def _decides(dataset):
    if dataset.radius.values.min() >= 1 or dataset.radius.values.max() <= 1:
        raise NotJudged("needs radii on both sides of 1")
    low, high = (dataset.radius.values[i] for i in (0, -1))
    normal = dataset.norm.sel(matrix=["symmetric", "orthogonal"], lag=100)
    skewed = dataset.norm.sel(matrix="non-normal", radius=low)
    peak, end = float(skewed.max(skipna=False)), float(skewed.isel(lag=-1))
    negative, driven = float(dataset.negative_norm.sel(lag=100)), float(dataset.driven_norm.sel(lag=100))
    largest, radius = float(dataset.largest_eigenvalue), float(dataset.driven_radius_measured)
    stated = less(normal.sel(radius=low), 1e-4) & less(1e4, normal.sel(radius=high))
    limits = above(peak, 10.0) & above(negative, 100.0) & below(driven, 1e-4) & less(largest, 1.0) & less(1.0, radius)
    return Finding(
        stated,
        limits=limits,
        measured=f"a non-normal matrix of radius {low:g} first grows to {peak:.0f} and ends at {end:.0e}; a largest "
        f"eigenvalue of {largest:.2g} beside one below -1 grows to {negative:.0f} in 100 steps; driven tanh "
        f"of radius {radius:.2g} shrinks to {driven:.0e}",
        figure="spectra",
    )


def _copies(dataset):
    return Finding(below(dataset.residual), figure="spectra")


def figures(dataset):
    from matplotlib.lines import Line2D

    figure, (left, right) = style.subplots(1, 2, width="page", height=3.0)
    colors = dict(zip(dataset.radius.values.tolist(), style.sequence(dataset.sizes["radius"]), strict=True))
    strokes = {"symmetric": "-", "orthogonal": (0, (1, 1)), "non-normal": (0, (5, 1.5))}
    for radius, color in colors.items():
        for matrix, stroke in strokes.items():
            line = dataset.norm.sel(matrix=matrix, radius=radius)
            left.plot(dataset.lag, line, color=color, linestyle=stroke)
    left.set(yscale="log", xlabel="time lag (steps)", ylabel="2-norm of the Jacobian", ylim=(1e-24, 1e24))
    handles = [Line2D([], [], color=color, label=f"radius {radius:g}") for radius, color in colors.items()]
    handles += [Line2D([], [], color="#333333", linestyle=stroke, label=name) for name, stroke in strokes.items()]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))
    lags = slice(0, 100)
    near = {
        f"non-normal, radius {dataset.radius.values[0]:g}": dataset.norm.sel(matrix="non-normal").isel(radius=0),
        "largest eigenvalue below 1, least below -1": dataset.negative_norm,
        f"tanh, driven, radius {float(dataset.driven_radius_measured):g}": dataset.driven_norm,
    }
    for (name, line), color in zip(near.items(), ("blue", "vermilion", "green"), strict=True):
        right.plot(dataset.lag.sel(lag=lags), line.sel(lag=lags), color=style.COLORS[color], label=name)
    right.axhline(1.0, color="#333333", linewidth=0.8)
    right.set(yscale="log", xlabel="time lag (steps)")
    right.legend(fontsize=6, loc="lower left")
    figure.set_label(
        "The state's Jacobian in an earlier state, by time lag. Left: linear recurrences by kind of matrix and "
        "spectral radius; those of symmetric and of orthogonal matrices are the same. Right: what the largest "
        "eigenvalue does not tell."
    )
    return {"spectra": figure}


claims = {
    "rnn-hundred-steps-eigenvalue-threshold": _hundred,
    "rnn-largest-eigenvalue-decides": _decides,
    "bptt-hundred-copies-of-one-matrix": _copies,
}

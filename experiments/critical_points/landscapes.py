"""What do gradients, Jacobians and Hessians say about functions of several variables?

Hessian eigenvalues tell bowls from domes and saddles at points where the gradient is zero; the
gradient points along the steepest ascent; worked Jacobians and Hessians against what is printed of
them.
"""

import numpy as np
import pydantic

from jaxcalc import lab, style
from jaxcalc.lab import Finding, Variable, above, below, close, jax, jnp, less

kind = "host"

_SHOWN = {
    "bowl": "bowl: $x^2 + 3y^2$",
    "dome": "dome: $-x^2 - 3y^2$",
    "saddle": "saddle: $x^2 - y^2$",
    "monkey": "undecided: $x^3 - 3xy^2$",
}


class Config(lab.Config):
    points: int = pydantic.Field(61, ge=5)
    """points of a landscape along each axis"""
    directions: int = pydantic.Field(20001, ge=101)
    """unit directions along which the slope is taken"""


VARIABLES = {
    "shape": Variable(("shape",), "", "a function with a stationary point at the origin"),
    "x": Variable(("x",), "", "first coordinate"),
    "y": Variable(("y",), "", "second coordinate"),
    "surface": Variable(("shape", "x", "y"), "", "the function"),
    "gradient_norm": Variable(("shape",), "", "norm of its gradient at the origin"),
    "hessian": Variable(("shape", "row", "column"), "", "its Hessian at the origin"),
    "eigenvalues": Variable(("shape", "eigenvalue"), "", "eigenvalues of that, in rising order"),
    "plateau_gradient": Variable((), "", "derivative of (sigmoid(z) - 1)^2 at -30"),
    "plateau_loss": Variable((), "", "its value there"),
    "angle": Variable(("angle",), "degree", "direction in the plane"),
    "slope": Variable(("angle",), "", "directional derivative along it"),
    "gradient_slope": Variable((), "", "norm of the gradient"),
    "gradient_angle": Variable((), "degree", "direction of the gradient"),
    "directional_residual": Variable(("direction",), "", "directional derivative less gradient times direction"),
    "partials": Variable(("column",), "", "partial derivatives of 3x^2y + 2xy^3 - 5 at (1, 2)"),
    "example": Variable(("row", "column"), "", "Jacobian of [x^2 + y, xy] at (3, 2)"),
    "jacobian": Variable(("output", "input"), "", "Jacobian of a dense layer from 3 to 5"),
    "row_gradients": Variable(("output", "input"), "", "gradients of its outputs, one by one"),
    "one_hot_pullback": Variable(("output", "input"), "", "vector-Jacobian products with one-hot vectors"),
    "cotangent": Variable(("output",), "", "a random vector"),
    "pullback": Variable(("input",), "", "its vector-Jacobian product"),
    "asymmetry": Variable((), "", "largest difference of a Hessian in 6 variables and its transpose"),
    "f_xy": Variable((), "", "d/dy of df/dx at the origin, f = xy (x^2 - y^2) / (x^2 + y^2)"),
    "f_yx": Variable((), "", "d/dx of df/dy there"),
}


def run(config, key):
    found = jax.jit(lambda key: _measured(config, key))(key)
    return {"shape": np.array(list(_SHOWN)), **{name: np.asarray(value) for name, value in found.items()}}


def _measured(config, key):
    from jaxcalc.transforms.hessian import hessian
    from jaxcalc.transforms.jacobian import jacobian
    from jaxcalc.transforms.local_models import directional_derivative, steepest_ascent

    shapes = {
        "bowl": lambda p: p[0] ** 2 + 3 * p[1] ** 2,
        "dome": lambda p: -(p[0] ** 2) - 3 * p[1] ** 2,
        "saddle": lambda p: p[0] ** 2 - p[1] ** 2,
        "monkey": lambda p: p[0] ** 3 - 3 * p[0] * p[1] ** 2,
    }
    assert list(shapes) == list(_SHOWN)
    second = lambda fun: hessian(fun, method="forward-over-reverse")
    origin, axis = jnp.zeros(2), jnp.linspace(-1.0, 1.0, config.points)
    grid = jnp.stack(jnp.meshgrid(axis, axis, indexing="ij"), -1)
    hessians = jnp.stack([second(fun)(origin) for fun in shapes.values()])
    plateau = lambda z: (jax.nn.sigmoid(z) - 1.0) ** 2

    wavy = lambda p: jnp.sin(p[0]) * jnp.exp(0.5 * p[1]) + p[0] * p[1]
    at = jnp.array([0.4, 0.3])
    angle = jnp.linspace(0.0, 2 * np.pi, config.directions)
    units = jnp.stack([jnp.cos(angle), jnp.sin(angle)], -1)
    slopes = jax.vmap(lambda v: directional_derivative(wavy)(at, v))(units)
    ascent = steepest_ascent(wavy)(at)
    six = lambda p: jnp.sin(p @ jnp.arange(1.0, 7.0) / 6) + jnp.exp(-0.1 * p @ p) * p[0] * p[5]
    keys = jax.random.split(key, 5)
    place, along = jax.random.normal(keys[0], (6,)), jax.random.normal(keys[1], (50, 6))
    along = along / jnp.linalg.norm(along, axis=1, keepdims=True)
    derivative = jax.vmap(lambda v: directional_derivative(six)(place, v))(along)
    mixed = second(six)(place)

    matrix, input = jax.random.normal(keys[2], (5, 3)), jax.random.normal(keys[3], (3,))
    example = lambda p: jnp.stack([p[0] ** 2 + p[1], p[0] * p[1]])
    layer = lambda x: jnp.tanh(matrix @ x)
    explicit = jacobian(layer, method="reverse")(input)
    rows = jnp.stack([jax.grad(lambda x, i=i: layer(x)[i])(input) for i in range(5)])
    pull = jax.vjp(layer, input)[1]
    one_hot = jax.vmap(lambda v: pull(v)[0])(jnp.eye(5))
    cotangent = jax.random.normal(keys[4], (5,))
    pulled = pull(cotangent)[0]

    # Twice differentiable at the origin, but not continuously: the two orders of differentiation disagree.
    rough = lambda x, y: x * y * (x**2 - y**2) / (x**2 + y**2)
    h = 1e-3
    along_x, along_y = jax.grad(rough, 0), jax.grad(rough, 1)
    return {
        "x": axis,
        "y": axis,
        "surface": jnp.stack([jax.vmap(jax.vmap(fun))(grid) for fun in shapes.values()]),
        "gradient_norm": jnp.array([jnp.linalg.norm(jax.grad(fun)(origin)) for fun in shapes.values()]),
        "hessian": hessians,
        "eigenvalues": jnp.linalg.eigvalsh(hessians),
        "plateau_gradient": jax.grad(plateau)(-30.0),
        "plateau_loss": plateau(jnp.asarray(-30.0)),
        "angle": jnp.rad2deg(angle),
        "slope": slopes,
        "gradient_slope": ascent.slope,
        "gradient_angle": jnp.rad2deg(jnp.arctan2(ascent.direction[1], ascent.direction[0])),
        "directional_residual": abs(derivative - along @ jax.grad(six)(place)),
        "partials": jax.grad(lambda p: 3 * p[0] ** 2 * p[1] + 2 * p[0] * p[1] ** 3 - 5)(jnp.array([1.0, 2.0])),
        "example": jacobian(example, method="forward")(jnp.array([3.0, 2.0])),
        "jacobian": explicit,
        "row_gradients": rows,
        "one_hot_pullback": one_hot,
        "cotangent": cotangent,
        "pullback": pulled,
        "asymmetry": abs(mixed - mixed.T).max(),
        "f_xy": (along_x(0.0, h) - along_x(0.0, -h)) / (2 * h),
        "f_yx": (along_y(h, 0.0) - along_y(-h, 0.0)) / (2 * h),
    }


def _near_a_minimum(dataset):
    bowl, saddle = (dataset.sel({"shape": name}) for name in ("bowl", "saddle"))
    low, high = saddle.eigenvalues.values
    steepness, loss = abs(float(dataset.plateau_gradient)), float(dataset.plateau_loss)
    at_saddle = below(saddle.gradient_norm) & less(low, 0.0) & less(0.0, high)
    return Finding(
        below(bowl.gradient_norm) & less(0.0, bowl.eigenvalues),
        limits=at_saddle | (below(steepness) & above(loss, 0.99)),
        measured=f"gradient {float(saddle.gradient_norm):.2g} at a saddle; "
        f"{steepness:.2g} on a plateau with loss {loss:.4g}",
        figure="landscapes",
    )


def _steepest(dataset):
    slope = dataset["slope"].values
    best = int(np.argmax(slope))
    turn = abs((dataset.angle.values[best] - float(dataset.gradient_angle) + 180) % 360 - 180)
    excess = float(slope.max() - dataset.gradient_slope)
    return Finding(
        below(abs(excess)) & below(turn, 1.5 * 360 / (slope.size - 1)),
        measured=f"largest slope less the norm {excess:.2g}, directions {turn:.2g} degrees apart",
        figure="slopes",
    )


def _rows(dataset):
    matrix = dataset.jacobian.values
    residual = matrix - dataset.row_gradients.values
    return Finding(
        close({"shape": matrix.shape, "residual": residual}),
        measured=f"shape {matrix.shape}, residual {abs(residual).max():.2g}",
    )


def _pulled_back(dataset):
    matrix, pulled = dataset.jacobian.values, dataset.pullback.values
    exact = abs(dataset.one_hot_pullback.values - matrix)
    summed = abs(pulled - dataset.cotangent.values @ matrix)
    apart = np.linalg.norm(matrix - pulled, axis=1)
    return Finding(
        below([exact, summed]),
        limits=above(apart, 0.01),
        measured=f"one-hot cotangents: residual {exact.max():.2g}; a random one: {apart.min():.2g} "
        f"from the nearest row, {summed.max():.2g} from the weighted sum of rows",
    )


def _bowl(dataset):
    bowl = dataset.sel({"shape": "bowl"})
    low, high = bowl.eigenvalues.values
    return Finding(
        close({"H": bowl.hessian, "eigenvalues": [low, high], "condition": high / low}),
        measured=f"eigenvalues {low:g} and {high:g}, condition number {high / low:g}",
        figure="landscapes",
    )


def figures(dataset):
    figure, panels = style.subplots(1, 4, width="page", height=2.4, sharey=True, letters=False)
    for axis, name in zip(panels, map(str, dataset["shape"].values)):
        one = dataset.sel({"shape": name})
        top = float(abs(one.surface).max())
        levels = np.linspace(-top, top, 25)
        axis.contourf(dataset.x, dataset.y, one.surface.values.T, levels=levels, cmap="RdBu_r")
        axis.contour(dataset.x, dataset.y, one.surface.values.T, levels=levels, colors="#555555", linewidths=0.3)
        axis.plot(0, 0, "o", color=style.COLORS["black"])
        low, high = one.eigenvalues.values
        axis.set_title(f"{_SHOWN[name]}\n$\\lambda$ = {low:g}, {high:g}", fontsize=7)
        axis.set(xlabel="x", aspect="equal", xticks=(-1, 0, 1), yticks=(-1, 0, 1))
        axis.grid(visible=False)
    panels[0].set_ylabel("y")
    figure.set_label(
        "Four landscapes whose gradient is zero at the dot, and the eigenvalues of the Hessian "
        "there; blue is low, red high. Eigenvalues of one sign mean a bowl or a dome, of both "
        "signs a saddle; zero leaves it open."
    )
    steepest = dataset.gradient_slope.expand_dims(angle=[0.0, 360.0])
    slopes, panels = style.chart(
        dataset["slope"], theory=steepest, xlabel="direction (degrees)", ylabel="slope along the direction"
    )
    panels[0, 0].axvline(float(dataset.gradient_angle) % 360, **style.THEORY)
    panels[0, 0].set_xticks(range(0, 361, 60))
    slopes.set_label("The slope along each unit direction. Dashed: the norm of the gradient, and its direction.")
    return {"landscapes": figure, "slopes": slopes}


claims = {
    "gradient-norm-zero-means-near-minimum": _near_a_minimum,
    "gradient-is-steepest-ascent": _steepest,
    "directional-derivative-is-dot-product": lambda data: below(data.directional_residual),
    "partials-3x2y-2xy3": lambda data: close(data.partials),
    "jacobian-example": lambda data: close(data.example),
    "jacobian-shape-and-rows": _rows,
    "vjp-gives-a-row": _pulled_back,
    "hessian-symmetric": lambda data: below(data.asymmetry),
    "hessian-symmetry-needs-c2": lambda data: close({"f_xy": data.f_xy, "f_yx": data.f_yx}),
    "hessian-example": _bowl,
}

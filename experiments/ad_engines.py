"""What does automatic differentiation do that formulas and difference quotients cannot, and where are its own limits?

Accuracy of every engine on one function (``accuracy``), the operations each counts for a gradient (``cost``), formulas
that swell (``symbolic``), and the small facts of tapes, dual numbers and computational graphs (``facts``).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pydantic

from jaxcalc.lab import Check, Config, Finding, Part, Variable, above, below, cited, close, equal, holds, less

if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure

_LOOKS = {
    "jax forward": ("blue", "o"),
    "jax reverse": ("vermilion", "s"),
    "dual": ("sky", "v"),
    "tape": ("green", "^"),
    "symbolic": ("purple", "D"),
    "complex step": ("grey", "X"),
    "richardson": ("black", "*"),
    "central": ("orange", "P"),
}

# -- accuracy ----------------------------------------------------------------------------------------------------------


class Accuracy(Config):
    points: int = pydantic.Field(50, ge=2)
    """points at which sin(x) e^x / (1 + x^2) is differentiated"""


def _wave(m: Any) -> Callable[[Any], Any]:
    """The function in the words of a module that has sin and exp."""
    return lambda x: m.sin(x) * m.exp(x) / (1 + x * x)


def run_accuracy(config: Accuracy, key: Any) -> dict[str, Any]:
    import jax
    import jax.numpy as jnp
    import sympy

    from jaxcalc.engines import dual, finite_differences, symbolic, tape

    x = jnp.linspace(-3.0, 3.0, config.points)
    wave = _wave(jnp)
    difference = lambda scheme: finite_differences.derivative(wave, scheme=scheme)
    routes = {
        "jax forward": lambda x: jax.jvp(wave, (x,), (jnp.ones_like(x),))[1],
        "jax reverse": jax.grad(wave),
        "dual": dual.derivative(_wave(dual)),
        "tape": tape.gradient(_wave(tape)),
        "symbolic": symbolic.derivative(_wave(sympy)),
        "complex step": difference("complex step"),
        "richardson": difference("richardson"),
        "central": difference("central"),
    }
    symbol = sympy.Symbol("x", real=True)
    formula = _wave(sympy)(symbol)
    slope = formula.diff(symbol)
    # Points are exact rationals: 40 digits make the reference's own rounding vanish.
    at = [sympy.Rational(float(v)) for v in x]
    digits = lambda f: [sympy.N(f.subs(symbol, v), 40) for v in at]
    true, size = digits(slope), [abs(float(v)) for v in digits(formula)]
    error = np.array(
        [[abs(float(sympy.Float(float(got), 40) - t)) for got, t in zip(jax.vmap(f)(x), true)] for f in routes.values()]
    )
    scale = np.array([abs(float(t)) + s for t, s in zip(true, size)])
    return {
        "engine": np.array(list(routes)),
        "x": x,
        "derivative": np.array(list(map(float, true))),
        "scaled_error": error / scale,
    }


def _judge_rounding(dataset: "xarray.Dataset") -> Finding:
    worst = dataset.scaled_error.max("x", skipna=False)
    exact = ["jax forward", "jax reverse", "dual", "tape"]
    return Finding(
        below(dataset.scaled_error.sel(engine=exact)) & above(dataset.scaled_error, 0.0),
        measured=", ".join(f"{name} {float(worst.sel(engine=name)):.2g}" for name in [*exact, "central"]),
    )


def figures_of_accuracy(dataset: "xarray.Dataset") -> dict[str, "Figure"]:
    from jaxcalc import style

    figure, axis = style.subplots(width=4.8, height=2.9)
    names = list(map(str, dataset.engine.values))
    for place, name in enumerate(names):
        color, marker = _LOOKS[name]
        error = np.maximum(dataset.scaled_error.sel(engine=name).values, 1e-18)
        spread = np.linspace(-0.28, 0.28, error.size)
        axis.plot(error, place + spread, marker, color=style.COLORS[color], markersize=2.5)
    axis.axvline(np.finfo(float).eps, **style.THEORY)
    axis.annotate("eps", (np.finfo(float).eps, -0.5), (3, 1), textcoords="offset points", va="top")
    axis.set_yticks(range(len(names)), names)
    axis.set_ylim(len(names) - 0.4, -0.6)
    axis.set(xscale="log", xlabel="error of the derivative / (|f'| + |f|)")
    figure.set_label(
        "Every engine on sin(x) e^x / (1 + x^2) in float64, against 40 digits; each point is one x, exact results are "
        "drawn at 1e-18."
    )
    return {"accuracy": figure}


accuracy = Part(
    Accuracy,
    {
        "engine": Variable(("engine",), "", "what differentiates"),
        "x": Variable(("x",), "", "where"),
        "derivative": Variable(("x",), "", "the derivative, from 40 digits"),
        "scaled_error": Variable(("engine", "x"), "", "error over the sizes of derivative and function"),
    },
    "host",
    run_accuracy,
    figures=figures_of_accuracy,
    claims={"ad-exact-to-rounding": _judge_rounding},
    doc="How accurate is each engine on the same function?",
)

# -- cost --------------------------------------------------------------------------------------------------------------

_PRICED = ("jax reverse", "tape", "jax forward", "dual", "central")


class Price(Config):
    sizes: tuple[int, ...] = (4, 16, 64, 256)
    """numbers of inputs of the function whose gradient is priced"""
    partials: int = pydantic.Field(50, ge=2)
    """inputs of the function whose evaluations are counted"""


def _layer(m: Any, weights: Any) -> Callable[[Any], Any]:
    """A layer of tanh, summed, in the words of an engine."""
    return lambda x: m.sum(m.tanh(m.matmul(weights, x)))


def _operations(fun: Callable[..., Any], *args: Any) -> float:
    from jaxcalc.programs import cost

    found = cost(fun, *args)
    return found.flops + found.transcendentals


def _evaluations(n: int) -> list[int]:
    """Forward passes and pullbacks of one reverse gradient, and function values of a central one, all counted."""
    import jax
    import jax.numpy as jnp

    from jaxcalc.engines import finite_differences

    calls = [0, 0, 0]
    # Batched calls are counted one by one; float32 since the thread that calls back does not know that float64 is on.
    out = jax.ShapeDtypeStruct((), "float32")

    def counted(place, value):
        def count(v):
            calls[place] += 1
            return np.asarray(v, "float32")

        return jax.pure_callback(count, out, value, vmap_method="sequential")

    plain = lambda x: jnp.sum(jnp.sin(x)).astype("float32")
    loss = jax.custom_vjp(plain)
    loss.defvjp(
        lambda x: (counted(0, plain(x)), x),
        lambda x, g: ((counted(1, g) * jnp.cos(x)).astype(x.dtype),),
    )
    x = jnp.linspace(0.0, 1.0, n)
    value, gradient = jax.jit(jax.value_and_grad(loss))(x)
    differences = jax.jit(finite_differences.gradient(lambda x: counted(2, plain(x))))(x)
    jax.block_until_ready((value, gradient, differences))
    right = int(np.count_nonzero(abs(np.asarray(gradient) - np.cos(np.asarray(x))) < 1e-6))
    return [*calls, right]


def _settings() -> tuple[dict[str, float], str]:
    """Operations with forward mode over those by reverse mode alone, in uses of derivatives; the planner's product."""
    import jax
    import jax.numpy as jnp

    from jaxcalc import hvp, plan

    weights = [jnp.ones((2, 16)) / 4, jnp.ones((16, 16)) / 16, jnp.ones((16, 1)) / 4]
    points, targets = jnp.ones((32, 2)), jnp.ones((32, 1))

    def network(weights, x):
        for w in weights[:-1]:
            x = jnp.tanh(x @ w)
        return x @ weights[-1]

    loss = lambda weights: jnp.mean((network(weights, points) - targets) ** 2)
    # The sensitivities of the network's outputs at many points by the two coordinates of a shift.
    shifted = lambda shift: network(weights, points + shift)[:, 0]
    by = lambda method: _operations(lambda w, v: hvp(loss, method=method)((w,), v), weights, weights)
    shift = jnp.zeros(2)
    found = {
        "training gradient": _operations(jax.jacfwd(loss), weights) / _operations(jax.grad(loss), weights),
        "Hessian-vector product": by("forward-over-reverse") / by("reverse-over-reverse"),
        "network by its coordinates": _operations(jax.jacfwd(shifted), shift) / _operations(jax.jacrev(shifted), shift),
    }
    return found, plan(hvp, loss, (weights,), weights).method


def run_cost(config: Price, key: Any) -> dict[str, Any]:
    import jax
    import jax.numpy as jnp

    from jaxcalc.engines import dual, finite_differences, tape

    found = np.zeros((len(config.sizes), len(_PRICED)))
    for i, n in enumerate(config.sizes):
        weights, x = jnp.ones((n, n)), jnp.ones(n)
        # The weights are an argument: what a program closes over is computed beforehand.
        routes = {
            "jax reverse": lambda w, x: jax.value_and_grad(_layer(jnp, w))(x),
            "tape": lambda w, x: tape.value_and_gradient(_layer(tape, w))(x),
            "jax forward": lambda w, x: jax.jacfwd(_layer(jnp, w))(x),
            "dual": lambda w, x: dual.gradient(_layer(dual, w))(x),
            "central": lambda w, x: finite_differences.gradient(_layer(jnp, w))(x),
        }
        value = _operations(lambda w, x: _layer(jnp, w)(x), weights, x)
        found[i] = [_operations(routes[name], weights, x) / value for name in _PRICED]
    settings, product = _settings()
    forward, backward, central, right = _evaluations(config.partials)
    return {
        "n": np.array(config.sizes),
        "route": np.array(_PRICED),
        "relative_cost": found,
        "setting": np.array(list(settings)),
        "forward_over_reverse": np.array(list(settings.values())),
        "product_method": np.array(product),
        "num_partials": np.asarray(config.partials),
        "calls": np.array([forward, backward, central]),
        "right_partials": np.asarray(right),
    }


def _judge_one_pass(dataset: "xarray.Dataset") -> Finding:
    n, right = dataset.num_partials, dataset.right_partials
    forward, backward, central = dataset.calls
    return Finding(
        equal([forward, backward], 1) & equal(right, n) & equal(central, 2 * n),
        measured=f"{right.item():g} partial derivatives from {forward.item():g} pass forward and {backward.item():g} "
        f"back; central differences took {central.item():g} evaluations",
    )


def _judge_rare(dataset: "xarray.Dataset") -> Finding:
    ratio = {str(k): float(v) for k, v in zip(dataset.setting.values, dataset.forward_over_reverse.values)}
    method = str(dataset.product_method.values)
    return Finding(
        less(1.0, ratio["training gradient"]) & above(dataset.forward_over_reverse, 0.0),
        limits=equal(method, "forward-over-reverse")
        & below(ratio["Hessian-vector product"], 1.0)
        & less(ratio["network by its coordinates"], 1.0),
        measured=", ".join(f"{name} {value:.3g}" for name, value in ratio.items())
        + f" (operations with forward mode over those by reverse mode alone); the product's route is {method}",
    )


def figures_of_cost(dataset: "xarray.Dataset") -> dict[str, "Figure"]:
    from jaxcalc import style

    figure, axis = style.subplots(width=4.6, height=3.0)
    n = dataset.n.values
    for name in map(str, dataset.route.values):
        color, marker = _LOOKS[name]
        open_marker = (
            {"markerfacecolor": "none", "markeredgewidth": 0.9, "markersize": 7} if name in ("tape", "dual") else {}
        )
        axis.plot(
            n,
            dataset.relative_cost.sel(route=name),
            color=style.COLORS[color],
            marker=marker,
            label=name,
            **open_marker,
        )
    axis.plot(n, 2 * n, **style.THEORY)
    axis.plot(n, n, **style.THEORY)
    axis.set(xscale="log", yscale="log", xlabel="inputs n", ylabel="operations / those of the function", ylim=(1, None))
    axis.legend(loc="upper left")
    figure.set_label("A gradient by every engine over one evaluation, operations counted. Dashed: n and 2 n.")
    return {"cost": figure}


cost = Part(
    Price,
    {
        "n": Variable(("n",), "", "inputs of the function"),
        "route": Variable(("route",), "", "what differentiates"),
        "relative_cost": Variable(("n", "route"), "", "operations over those of the function"),
        "setting": Variable(("setting",), "", "a use of derivatives in machine learning"),
        "forward_over_reverse": Variable(("setting",), "", "operations with forward mode over reverse mode alone"),
        "product_method": Variable((), "", "the route that the planner takes for a Hessian-vector product"),
        "num_partials": Variable((), "", "inputs of the function whose evaluations are counted"),
        "calls": Variable(("pass",), "", "passes forward, passes back, function values of central differences"),
        "right_partials": Variable((), "", "partial derivatives that the one pass back gave"),
    },
    "host",
    run_cost,
    figures=figures_of_cost,
    claims={"one-backward-pass-gives-all-gradients": _judge_one_pass, "forward-mode-rare-in-ml": _judge_rare},
    doc="What does each engine's gradient cost, in operations?",
)

# -- symbolic ----------------------------------------------------------------------------------------------------------


class Symbolic(Config):
    depth: int = pydantic.Field(6, ge=3, le=8)
    """turns of the logistic map"""
    factors: int = pydantic.Field(10, ge=2)
    """variables whose product is differentiated by each"""


def _logistic(x: Any, turns: int) -> Any:
    for _ in range(turns):
        x = 4 * x * (1 - x)
    return x


def _until(x: Any) -> Any:
    while x < 10:
        x = x * x + 1
    return x


def run_symbolic(config: Symbolic, key: Any) -> dict[str, Any]:
    import jax
    import sympy

    from jaxcalc.engines import dual, symbolic
    from jaxcalc.programs import walk

    depths = range(1, config.depth + 1)
    x = sympy.Symbol("x")
    grown = symbolic.growth(lambda k: _logistic(x, k), depths)
    scalar = jax.ShapeDtypeStruct((), "float64")
    sizes = [len(walk.trace(jax.grad(lambda v, k=k: _logistic(v, k)), scalar).equations) for k in depths]
    names = sympy.symbols(f"v:{config.factors}")
    product = sympy.Mul(*names)
    partials = [product.diff(name) for name in names]

    def formula_of(fun, at):
        # Whether there is a formula, and the distance of its slope from the program's.
        try:
            slope = symbolic.derivative(fun)
        except TypeError:
            return False, np.nan
        return True, abs(float(slope(at)) - float(dual.derivative(fun)(at)))

    s = sympy.Symbol("x", real=True)
    branch = symbolic.derivative(sympy.Piecewise((s**2, s > 0), (0, True)))
    found = [
        formula_of(_until, 1.5),
        formula_of(lambda x: _logistic(x, 3), 0.3),
        (True, max(abs(float(branch(0.7)) - 1.4), abs(float(branch(-0.7))))),
    ]
    return {
        "depth": grown.depth,
        "value_operations": grown.value,
        "derivative_operations": grown.derivative,
        "shared_operations": grown.shared_derivative,
        "program_size": np.array(sizes),
        "product_operations": np.array(
            [symbolic.operations(product), symbolic.operations(*partials), symbolic.operations(*partials, shared=True)]
        ),
        "program": np.array(["loop until a value", "loop of fixed length", "branch, as Piecewise"]),
        "has_formula": np.array([has for has, _ in found]),
        "slope_gap": np.array([gap for _, gap in found]),
        # The same loop as a program, differentiated as it runs; 4 x^3 + 4 x after two turns of x^2 + 1.
        "loop_by_program": np.array([float(dual.derivative(_until)(1.5)), 4 * 1.5**3 + 4 * 1.5]),
    }


def _judge_swell(dataset: "xarray.Dataset") -> Finding:
    f, d, program = (dataset[name].values for name in ("value_operations", "derivative_operations", "program_size"))
    ratio, steps = d / f, np.diff(program)
    one, partials, together = dataset.product_operations.values
    return Finding(
        less(1.0, ratio[1:])
        & less(ratio[:-1], ratio[1:])
        & equal(steps, steps[0])
        & less(one, partials)
        & above([f, d, program], 1),
        measured=f"(f, f') operations {[*zip(f.tolist(), d.tolist())]}, programs {program.tolist()}; product: "
        f"{one} for the value, {partials} for all partials, {together} with equal parts shared",
    )


def _judge_formulas(dataset: "xarray.Dataset") -> Finding:
    loop, others = dataset.sel(program="loop until a value"), dataset.drop_sel(program="loop until a value")
    by_program, exact = dataset.loop_by_program.values
    return Finding(
        ~holds(loop.has_formula) & close(by_program, exact, 8 * np.finfo(float).eps, relative=True),
        limits=holds(others.has_formula) & below(others.slope_gap, 1e-12),
        measured=f"a loop until a value has no formula (as a program its slope is {by_program:g}); a loop of fixed "
        f"length and a Piecewise are right to {others.slope_gap.values.max():.2g}",
    )


def figures_of_symbolic(dataset: "xarray.Dataset") -> dict[str, "Figure"]:
    from jaxcalc import style

    figure, axis = style.subplots(width=4.6, height=2.9)
    for name, label, color, marker in (
        ("derivative_operations", "derivative as a formula", "vermilion", "s"),
        ("value_operations", "function as a formula", "black", "o"),
        ("shared_operations", "derivative, equal parts shared", "orange", "D"),
        ("program_size", "reverse-mode program", "blue", "^"),
    ):
        axis.plot(dataset.depth, dataset[name], color=style.COLORS[color], marker=marker, label=label)
    axis.set(yscale="log", xlabel="turns of the logistic map", ylabel="operations")
    axis.legend(loc="upper left")
    figure.set_label("Formulas swell with the depth of a program, its derivative as a program does not.")
    return {"growth": figure}


symbolic = Part(
    Symbolic,
    {
        "depth": Variable(("depth",), "", "turns of the logistic map"),
        "value_operations": Variable(("depth",), "", "operations of the function's formula"),
        "derivative_operations": Variable(("depth",), "", "operations of the derivative's formula"),
        "shared_operations": Variable(("depth",), "", "operations of the derivative's formula, equal parts once"),
        "program_size": Variable(("depth",), "", "operations of the reverse-mode program"),
        "product_operations": Variable(
            ("count",), "", "operations of a product: its value, all partials, all partials with equal parts once"
        ),
        "program": Variable(("program",), "", "what is to become a formula"),
        "has_formula": Variable(("program",), "", "whether it became one"),
        "slope_gap": Variable(("program",), "", "distance of the formula's slope; none where there is no formula"),
        "loop_by_program": Variable(("pair",), "", "slope of the loop as it runs, and in closed form"),
    },
    "host",
    run_symbolic,
    figures=figures_of_symbolic,
    claims={"symbolic-expression-swell": _judge_swell, "symbolic-fails-on-programs": _judge_formulas},
    doc="How do formulas swell, and which programs have none?",
)

# -- facts -------------------------------------------------------------------------------------------------------------


class Facts(Config):
    chain: int = pydantic.Field(5000, ge=2000)
    """nodes in the long chain"""


@dataclass
class _Scalar:
    """The scalar engine as popular texts print it: gradients stored in the nodes, sums and products only."""

    value: float
    parents: tuple["_Scalar", ...] = ()
    grad: float = 0.0
    pull: Callable[[], None] = lambda: None

    def __add__(self, other: Any) -> "_Scalar":
        out = _Scalar(self.value + other.value, (self, other))

        def pull():
            self.grad += out.grad
            other.grad += out.grad

        out.pull = pull
        return out

    def __mul__(self, other: Any) -> "_Scalar":
        out = _Scalar(self.value * other.value, (self, other))

        def pull():
            self.grad += other.value * out.grad
            other.grad += self.value * out.grad

        out.pull = pull
        return out

    def backward(self) -> None:
        order, seen = [], set()

        def visit(node):
            if id(node) not in seen:
                seen.add(id(node))
                for parent in node.parents:
                    visit(parent)
                order.append(node)

        visit(self)
        self.grad = 1.0
        for node in reversed(order):
            node.pull()


def _raised(action: Callable[[], Any]) -> str:
    """The name of the exception that an action ends in."""
    try:
        action()
    except Exception as error:
        return type(error).__name__
    return "none"


def _of_scalar_engine(length: int) -> dict[str, list[float]]:
    """What the printed engine gives, and this library's tape on the same."""
    from jaxcalc.engines import tape

    a, b = _Scalar(2.0), _Scalar(3.0)
    output = a * b + b
    output.backward()
    first = [output.value, a.grad, b.grad]
    output.backward()
    second = [a.grad, b.grad]
    x = _Scalar(3.0)
    (x * x).backward()
    u, v = tape.variable(2.0), tape.variable(3.0)
    node = u * v + v
    twice = [tape.backward(node) for _ in range(2)][-1]
    chain = end = tape.variable(1.0)
    for _ in range(length):
        end = end + chain
    return {
        "printed engine: a b + b": first,
        "printed engine: second backward": second,
        "printed engine: x x at 3": [x.grad],
        "tape: a b + b": [float(node.value), float(twice[u]), float(twice[v])],
        "tape: plain number, long chain": [
            float(tape.gradient(lambda x: x * 2 + 1)(3.0)),
            float(tape.backward(end)[chain]),
        ],
    }


def _long_chain(length: int) -> None:
    end = one = _Scalar(1.0)
    for _ in range(length):
        end = end + one
    end.backward()


def _network() -> dict[str, np.ndarray]:
    """The gradients of a 2-8-1 network on a batch of 4."""
    import jax
    import jax.numpy as jnp

    from jaxcalc.engines import tape

    draw = np.random.default_rng(0)
    x, y = jnp.asarray(draw.standard_normal((2, 4))), jnp.asarray(draw.standard_normal((1, 4)))
    shapes = {"W1": (8, 2), "b1": (8, 1), "W2": (1, 8), "b2": (1, 1)}
    parameters = {name: jnp.asarray(draw.standard_normal(shape)) for name, shape in shapes.items()}

    def loss(relu, mean):
        return lambda p: mean((p["W2"] @ relu(p["W1"] @ x + p["b1"]) + p["b2"] - y) ** 2)

    found = jax.grad(loss(jax.nn.relu, jnp.mean))(parameters)
    taped = tape.gradient(loss(tape.relu, tape.mean))(parameters)
    return {
        "leaf": np.array(list(shapes)),
        "leaf_shape": np.array([found[name].shape for name in shapes]),
        "leaf_norm": np.array([np.linalg.norm(found[name]) for name in shapes]),
        "leaf_gap": np.array([abs(found[name] - taped[name]).max() for name in shapes]),
    }


def _special_points() -> dict[str, tuple[float, float]]:
    """Program -> (derivative that JAX gives, derivative of the function), at 0."""
    import jax
    import jax.numpy as jnp

    slope = lambda fun: float(jax.grad(fun)(0.0))
    guarded = lambda x: jnp.where(x > 0, jnp.sqrt(jnp.where(x > 0, x, 1.0)), 0.0)
    return {
        "identity": (slope(lambda x: x), 1.0),
        "identity as log(exp x)": (slope(lambda x: jnp.log(jnp.exp(x))), 1.0),
        "identity with a branch at 0": (slope(lambda x: jnp.where(x == 0, 0.0, x)), 1.0),
        "|x|^1.5 by a choice": (slope(lambda x: jnp.where(x > 0, x * jnp.sqrt(x), jnp.sqrt(-x) * -x)), 0.0),
        "root with a choice outside": (slope(lambda x: jnp.where(x > 0, jnp.sqrt(x), 0.0)), np.nan),
        "root with a choice inside": (slope(guarded), np.nan),
        "norm": (float(jax.grad(lambda x: jnp.sqrt(jnp.sum(x**2)))(jnp.zeros(2))[0]), np.nan),
    }


def _flow() -> tuple[list[float], str]:
    """Slopes of a program with Python's loops and branches, and what the compiler says of it."""
    import jax
    import jax.numpy as jnp

    from jaxcalc.engines import dual, tape

    def program(m):
        def fun(x):
            for turn in range(4):
                x = m.sin(x) if x > 0.8 else x * x + 0.1 * turn
            return x

        return fun

    def compiled(x):
        def turn(x, number):
            return jax.lax.cond(x > 0.8, jnp.sin, lambda x: x * x + 0.1 * number, x), None

        return jax.lax.scan(turn, x, jnp.arange(4.0))[0]

    at = 0.9
    slopes = [
        jax.grad(program(jnp))(at),
        jax.jit(jax.grad(compiled))(at),
        dual.derivative(program(dual))(at),
        tape.gradient(program(tape))(at),
    ]
    return [float(s) for s in slopes], _raised(lambda: jax.jit(jax.grad(program(jnp)))(at))


def _graph() -> dict[str, Any]:
    """The operations of a gradient's program in order, and how often one uses what is not there yet."""
    import jax
    import jax.numpy as jnp

    from jaxcalc.engines import tape
    from jaxcalc.programs import walk

    array = jax.ShapeDtypeStruct((3,), "float64")
    program = walk.trace(jax.grad(lambda w, x: jnp.sum(2 * jax.nn.sigmoid(w * x))), array, array)
    known, early, twice = set(program.inputs), 0, 0
    for equation in program.equations:
        early += sum(value not in known and not value.constant for value in equation.inputs)
        twice += sum(value in known for value in equation.outputs)
        known.update(equation.outputs)
    x = jnp.arange(3.0)
    nodes = tape.graph(tape.sum(2 * tape.sigmoid(tape.variable(jnp.ones(3)) * x)))
    place = {node: i for i, node in enumerate(nodes)}
    late = sum(place[parent] >= place[node] for node in nodes for parent, _ in node.parents)
    return {
        "operation": np.array([f"{i} {equation.name}" for i, equation in enumerate(program.equations, 1)]),
        "used_early": np.array([early, late]),
        "assigned_twice": np.asarray(twice),
    }


def _associations() -> list[float]:
    """Products of three Jacobians from the left and from the right, against reverse and forward mode."""
    import jax
    import jax.numpy as jnp

    draw = np.random.default_rng(0)
    weights = [jnp.asarray(draw.standard_normal((4, 4))) for _ in range(3)]
    layer = lambda w, a: jnp.tanh(w @ a)
    x = jnp.asarray(draw.standard_normal(4))

    def whole(x):
        for w in weights:
            x = layer(w, x)
        return x

    a, jacobians = x, []
    for w in weights:
        z = layer(w, a)
        jacobians.append((1 - z**2)[:, None] * w)
        a = z
    first, second, third = jacobians
    left, right = (third @ second) @ first, third @ (second @ first)
    gap = lambda one, two: float(abs(one - two).max())
    return [gap(left, right), gap(left, jax.jacrev(whole)(x)), gap(right, jax.jacfwd(whole)(x))]


def run_facts(config: Facts, key: Any) -> dict[str, Any]:
    import jax
    import jax.numpy as jnp

    from jaxcalc.engines import dual, tape

    pair = jnp.asarray([1.0, 2.0])
    quadratic = lambda x: x[0] ** 2 + 3 * x[0] * x[1]
    wave = lambda m: lambda x: x * m.sin(x) + x * x
    nodes = jnp.asarray([2.0, 5.0])
    plus, times = lambda x: x[0] + x[1], lambda x: x[0] * x[1]
    example, operands = (lambda x: x[0] * x[1] + x[1]), jnp.asarray([2.0, 3.0])
    slopes, refusal = _flow()
    found = {
        "x0^2 + 3 x0 x1: jax": jax.grad(quadratic)(pair),
        "x0^2 + 3 x0 x1: tape": tape.gradient(quadratic)(pair),
        "x0^2 + 3 x0 x1: dual": dual.gradient(quadratic)(pair),
        "a b + b: jax": [example(operands), *jax.grad(example)(operands)],
        **_of_scalar_engine(config.chain),
        "a + b: jax, tape": [*jax.grad(plus)(nodes), *tape.gradient(plus)(nodes)],
        "a b: jax, tape": [*jax.grad(times)(nodes), *tape.gradient(times)(nodes)],
        "x sin x + x^2 at 1.3: dual, jvp": [dual.derivative(wave(dual))(1.3), jax.jvp(wave(jnp), (1.3,), (1.0,))[1]],
        "Python's control flow: jax, compiled, dual, tape": slopes,
        "three Jacobians: gaps": _associations(),
    }
    widest = max(np.size(values) for values in found.values())
    padded = [
        np.pad(np.ravel(np.asarray(v, float)), (0, widest - np.size(v)), constant_values=np.nan) for v in found.values()
    ]
    points = _special_points()
    return {
        "fact": np.array(list(found)),
        "found": np.stack(padded),
        "point": np.array(list(points)),
        "slope": np.array(list(points.values())),
        "is_number": np.array([np.isfinite(slope) for slope, _ in points.values()]),
        "trouble": np.array(["plain number", "long chain", "Python's branch compiled"]),
        "exception": np.array(
            [_raised(lambda: _Scalar(1.0) + 1.0), _raised(lambda: _long_chain(config.chain)), refusal]
        ),
        **_network(),
        **_graph(),
    }


def _found(dataset: "xarray.Dataset", name: str, count: int) -> np.ndarray:
    """The first numbers of a fact; what is longer is padding."""
    return dataset.found.sel(fact=name).values[:count]


def _listed(values: np.ndarray) -> str:
    return str([float(f"{value:.3g}") for value in values])


def _judge_polynomial(dataset: "xarray.Dataset") -> Finding:
    jax, tape, dual = (_found(dataset, f"x0^2 + 3 x0 x1: {name}", 2) for name in ("jax", "tape", "dual"))
    return Finding(
        close(jax) & close(tape) & close(dual),
        measured=f"jax {_listed(jax)}, tape {_listed(tape)}, dual {_listed(dual)}",
    )


def _judge_leaves(dataset: "xarray.Dataset") -> Finding:
    sizes = dataset.leaf_shape.prod("axis", skipna=False)
    return Finding(
        close({"parameters": sizes.sum(skipna=False)})
        & equal(dataset.leaf_shape.sel(leaf=["W1", "W2"]), [[8, 2], [1, 8]])
        & equal(sizes.sel(leaf=["b1", "b2"]), [8, 1])
        & less(0.0, dataset.leaf_norm)
        & below(dataset.leaf_gap, 1e-12),
        measured=f"{sizes.values.sum():g} parameters, norms {_listed(dataset.leaf_norm.values)}; the tape's differ by "
        f"{dataset.leaf_gap.values.max():.2g}",
    )


def _judge_slopes(dataset: "xarray.Dataset") -> Finding:
    """Smooth programs have the function's slope; a branch has another, a choice of roots none."""
    slope, few = dataset.slope.isel(side=0), 4 * np.finfo(float).eps
    return Finding(
        close(slope.sel(point=["identity", "identity as log(exp x)"]), tolerance=few),
        limits=~close(slope.sel(point="identity with a branch at 0"), tolerance=few)
        & ~holds(dataset.is_number.sel(point="|x|^1.5 by a choice")),
        measured="; ".join(f"{name} {value:g}" for name, value in zip(dataset.point.values, slope.values)),
    )


def _judge_example(dataset: "xarray.Dataset") -> Finding:
    names = ("printed engine: a b + b", "tape: a b + b", "a b + b: jax")
    engine, tape, jax = (_found(dataset, name, 3) for name in names)
    return Finding(
        close(engine) & close(tape) & close(jax),
        measured=f"printed engine {_listed(engine)}, tape {_listed(tape)}, jax {_listed(jax)}",
    )


def _judge_core(dataset: "xarray.Dataset") -> Finding:
    raised = dataset.exception.sel(trouble=["plain number", "long chain"]).values.tolist()
    (reused,), again = (
        _found(dataset, "printed engine: x x at 3", 1),
        _found(dataset, "printed engine: second backward", 2),
    )
    own = _found(dataset, "tape: plain number, long chain", 2)
    return Finding(
        equal(_found(dataset, "printed engine: a b + b", 3), [9.0, 3.0, 3.0]) & equal(reused, 6.0),
        limits=~equal(again) & equal(raised, ["AttributeError", "RecursionError"]),
        measured=f"reused inputs accumulate ({reused:g}); a second backward gives {again.tolist()}; a plain number "
        f"{raised[0]}, a long chain {raised[1]}; this tape {own.tolist()}",
    )


def _judge_dual(dataset: "xarray.Dataset") -> Check:
    by_dual, by_jvp = _found(dataset, "x sin x + x^2 at 1.3: dual, jvp", 2)
    return below(abs(by_dual - by_jvp))


def _judge_nodes(dataset: "xarray.Dataset") -> Finding:
    plus, times = _found(dataset, "a + b: jax, tape", 4), _found(dataset, "a b: jax, tape", 4)
    return Finding(
        close({"add": plus[:2], "mul": times[:2]}) & close({"add": plus[2:], "mul": times[2:]}),
        measured=f"sum {_listed(plus[:2])}, product {_listed(times[:2])}; the same by the tape",
    )


def _judge_flow(dataset: "xarray.Dataset") -> Finding:
    """Held against the slope by hand: at 0.9 the first turn takes the sine, the others the square."""
    flow = _found(dataset, "Python's control flow: jax, compiled, dual, tape", 4)
    refusal = str(dataset.exception.sel(trouble="Python's branch compiled").values)
    first = np.sin(0.9)
    second = first**2 + 0.1
    gap = abs(flow - np.cos(0.9) * 8 * first * second * (second**2 + 0.2))
    return Finding(
        below(gap) & equal(refusal, "TracerBoolConversionError"),
        measured=f"{flow[0]:.6g}, engines and lax.cond within {gap.max():.2g} of the slope by hand; compiled, the same "
        f"program raises {refusal}",
    )


def _judge_graph(dataset: "xarray.Dataset") -> Finding:
    operations = ", ".join(str(name).partition(" ")[2] for name in dataset.operation.values)
    return Finding(
        equal(dataset.used_early, 0) & equal(dataset.assigned_twice, 0),
        measured=f"{dataset.operation.size} operations: {operations}",
    )


def _judge_association(dataset: "xarray.Dataset") -> Finding:
    gaps = _found(dataset, "three Jacobians: gaps", 3)
    return Finding(
        below(gaps),
        measured=f"left against right {gaps[0]:.2g}, left against reverse mode {gaps[1]:.2g}, right against forward "
        f"mode {gaps[2]:.2g}",
    )


facts = Part(
    Facts,
    {
        "fact": Variable(("fact",), "", "what was computed, and by what"),
        "found": Variable(("fact", "place"), "", "the numbers that came out"),
        "point": Variable(("point",), "", "a program, differentiated at 0"),
        "slope": Variable(
            ("point", "side"), "", "the derivative that JAX gives, and the function's (none: it has none)"
        ),
        "is_number": Variable(("point",), "", "whether the derivative that JAX gives is a finite number"),
        "trouble": Variable(("trouble",), "", "what the printed engine, or the compiler, is given"),
        "exception": Variable(("trouble",), "", "what it raises"),
        "leaf": Variable(("leaf",), "", "parameters of the 2-8-1 network"),
        "leaf_shape": Variable(("leaf", "axis"), "", "shape of their gradient"),
        "leaf_norm": Variable(("leaf",), "", "norm of their gradient"),
        "leaf_gap": Variable(("leaf",), "", "largest difference from the tape's gradient"),
        "operation": Variable(("operation",), "", "operations of a gradient's program, in order"),
        "used_early": Variable(("graph",), "", "values used before they are made: in the program, on the tape"),
        "assigned_twice": Variable((), "", "values of the program made twice"),
    },
    "host",
    run_facts,
    claims={
        "autograd-example-8-3": _judge_polynomial,
        "small-mlp-every-parameter-has-grad": _judge_leaves,
        "ad-always-returns-the-derivative": _judge_slopes,
        "tape-engine-example": _judge_example,
        "tape-engine-equals-pytorch-core": _judge_core,
        "dual-numbers-implement-forward-mode": _judge_dual,
        "add-node-passes-mul-node-swaps": _judge_nodes,
        "dynamic-graph-python-control-flow": _judge_flow,
        "computational-graph-is-a-dag": _judge_graph,
        "backprop-identical-to-reverse-mode": _judge_association,
        "static-vs-dynamic-graph-history": cited,
        "backward-billion-parameters-one-pass": cited,
        "micrograd-line-count": cited,
    },
    doc="What do tapes, dual numbers and computational graphs give on the examples of popular texts?",
)

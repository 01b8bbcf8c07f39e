"""What do tapes, dual numbers and computational graphs give on the examples of popular texts?"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pydantic

from jaxcalc import lab
from jaxcalc.lab import Finding, Variable, below, cited, close, equal, holds, less

kind = "host"
dtype = "float64"


class Config(lab.Config):
    chain: int = pydantic.Field(5000, ge=2000)
    """nodes in the long chain"""


VARIABLES = {
    "fact": Variable(("fact",), "", "what was computed, and by what"),
    "found": Variable(("fact", "place"), "", "the numbers that came out"),
    "point": Variable(("point",), "", "a program, differentiated at 0"),
    "slope": Variable(("point", "side"), "", "the derivative that JAX gives, and the function's (none: it has none)"),
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
}


@dataclass
class _Scalar:
    """The scalar engine as popular texts print it: gradients stored in the nodes, sums and products only."""

    value: float
    parents: tuple["_Scalar", ...] = ()
    grad: float = 0.0
    pull: Callable[[], None] = lambda: None

    def __add__(self, other):
        out = _Scalar(self.value + other.value, (self, other))

        def pull():
            self.grad += out.grad
            other.grad += out.grad

        out.pull = pull
        return out

    def __mul__(self, other):
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


def _raised(action):
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


def _graph():
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


def run(config, key):
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


def _found(dataset, name, count):
    """The first numbers of a fact; what is longer is padding."""
    return dataset.found.sel(fact=name).values[:count]


def _listed(values: np.ndarray) -> str:
    return str([float(f"{value:.3g}") for value in values])


def _judge_polynomial(dataset):
    jax, tape, dual = (_found(dataset, f"x0^2 + 3 x0 x1: {name}", 2) for name in ("jax", "tape", "dual"))
    return Finding(
        close(jax) & close(tape) & close(dual),
        measured=f"jax {_listed(jax)}, tape {_listed(tape)}, dual {_listed(dual)}",
    )


def _judge_leaves(dataset):
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


def _judge_slopes(dataset):
    """Smooth programs have the function's slope; a branch has another, a choice of roots none."""
    slope, few = dataset.slope.isel(side=0), 4 * np.finfo(float).eps
    return Finding(
        close(slope.sel(point=["identity", "identity as log(exp x)"]), tolerance=few),
        limits=~close(slope.sel(point="identity with a branch at 0"), tolerance=few)
        & ~holds(dataset.is_number.sel(point="|x|^1.5 by a choice")),
        measured="; ".join(f"{name} {value:g}" for name, value in zip(dataset.point.values, slope.values)),
    )


def _judge_example(dataset):
    names = ("printed engine: a b + b", "tape: a b + b", "a b + b: jax")
    engine, tape, jax = (_found(dataset, name, 3) for name in names)
    return Finding(
        close(engine) & close(tape) & close(jax),
        measured=f"printed engine {_listed(engine)}, tape {_listed(tape)}, jax {_listed(jax)}",
    )


def _judge_core(dataset):
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


def _judge_dual(dataset):
    by_dual, by_jvp = _found(dataset, "x sin x + x^2 at 1.3: dual, jvp", 2)
    return below(abs(by_dual - by_jvp))


def _judge_nodes(dataset):
    plus, times = _found(dataset, "a + b: jax, tape", 4), _found(dataset, "a b: jax, tape", 4)
    return Finding(
        close({"add": plus[:2], "mul": times[:2]}) & close({"add": plus[2:], "mul": times[2:]}),
        measured=f"sum {_listed(plus[:2])}, product {_listed(times[:2])}; the same by the tape",
    )


def _judge_flow(dataset):
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


def _judge_graph(dataset):
    operations = ", ".join(str(name).partition(" ")[2] for name in dataset.operation.values)
    return Finding(
        equal(dataset.used_early, 0) & equal(dataset.assigned_twice, 0),
        measured=f"{dataset.operation.size} operations: {operations}",
    )


def _judge_association(dataset):
    gaps = _found(dataset, "three Jacobians: gaps", 3)
    return Finding(
        below(gaps),
        measured=f"left against right {gaps[0]:.2g}, left against reverse mode {gaps[1]:.2g}, right against forward "
        f"mode {gaps[2]:.2g}",
    )


claims = {
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
}

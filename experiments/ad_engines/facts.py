"""What do tapes, dual numbers and computational graphs give on the examples of popular texts?"""

from typing import Any

import numpy as np
import pydantic

from jaxcalc import lab
from jaxcalc.lab import (
    FACTS,
    Finding,
    Variable,
    below,
    cited,
    close,
    equal,
    fact,
    holds,
    jax,
    jnp,
    judge_facts,
    less,
    pack_facts,
)

kind = "host"


class Config(lab.Config):
    chain: int = pydantic.Field(5000, ge=2000)
    """nodes in the long chain"""


VARIABLES = {
    **FACTS,
    "point": Variable(("point",), "", "a program, differentiated at 0"),
    "slope": Variable(("point",), "", "the derivative that JAX gives"),
    "exact": Variable(("point",), "", "the function's own derivative (none: it has none)"),
    "is_number": Variable(("point",), "", "whether the derivative that JAX gives is a finite number"),
    "trouble": Variable(("trouble",), "", "what the printed engine, or the compiler, is given"),
    "exception": Variable(("trouble",), "", "what it raises"),
    "operation": Variable(("operation",), "", "operations of a gradient's program, in order"),
}


def run(config, key):
    from jaxcalc.engines import dual, tape

    pair, nodes, operands = (jnp.asarray(at) for at in ([1.0, 2.0], [2.0, 5.0], [2.0, 3.0]))
    quadratic = lambda x: x[0] ** 2 + 3 * x[0] * x[1]
    plus, times, example = lambda x: x[0] + x[1], lambda x: x[0] * x[1], lambda x: x[0] * x[1] + x[1]
    wave = lambda m: lambda x: x * m.sin(x) + x * x
    printed, troubles = _printed_engine(config.chain)
    flow, troubles["Python's branch compiled"] = _flow()
    order, operations = _graph()
    points = _special_points()
    slope, exact = np.array(list(points.values())).T
    facts = {
        "autograd-example-8-3": [by(quadratic)(pair) for by in (jax.grad, tape.gradient, dual.gradient)],
        "small-mlp-every-parameter-has-grad": _network(),
        "tape-engine-example": [*printed[:3], *printed[6:9], example(operands), *jax.grad(example)(operands)],
        "tape-engine-equals-pytorch-core": [*printed[:6], *printed[9:]],
        "dual-numbers-implement-forward-mode": dual.derivative(wave(dual))(1.3) - jax.jvp(wave(jnp), (1.3,), (1.0,))[1],
        "add-node-passes-mul-node-swaps": [by(f)(nodes) for f in (plus, times) for by in (jax.grad, tape.gradient)],
        "dynamic-graph-python-control-flow": flow,
        "computational-graph-is-a-dag": order,
        "backprop-identical-to-reverse-mode": _associations(),
    }
    return {
        **pack_facts(facts),
        "point": np.array(list(points)),
        "slope": slope,
        "exact": exact,
        "is_number": np.isfinite(slope),
        "trouble": np.array(list(troubles)),
        "exception": np.array(list(troubles.values())),
        "operation": operations,
    }


def _raised(action):
    """The name of the exception that an action ends in."""
    try:
        action()
    except Exception as error:
        return type(error).__name__
    return "none"


def _printed_engine(length):
    """Numbers of the printed engine and of the tape on the same, and what the printed one raises.

    a b + b with its gradient (3), the gradient after a second pass (2), that of x x at 3 (1); by the tape a b + b after
    a second pass (3), the gradient of 2 x + 1 (1), of a long chain (1).
    """
    from jaxcalc.engines import tape
    from jaxcalc.engines.scalar import Scalar

    a, b, x, one = Scalar(2.0), Scalar(3.0), Scalar(3.0), Scalar(1.0)
    output, square, end = a * b + b, x * x, one
    output.backward()
    first = [output.value, a.grad, b.grad]
    output.backward()
    square.backward()
    u, v, chain = tape.variable(2.0), tape.variable(3.0), tape.variable(1.0)
    node, long = u * v + v, chain
    twice = [tape.backward(node) for _ in range(2)][-1]
    for _ in range(length):
        end, long = end + one, long + chain
    own = [node.value, twice[u], twice[v], tape.gradient(lambda x: x * 2 + 1)(3.0), tape.backward(long)[chain]]
    plain: Any = 1.0
    troubles = {"plain number": _raised(lambda: one + plain), "long chain": _raised(end.backward)}
    return np.array([*first, a.grad, b.grad, x.grad, *map(float, own)]), troubles


def _network():
    """The gradient of a 2-8-1 network on a batch of 4: by leaf its shape, its norm, its distance from the tape's."""
    from jaxcalc.engines import tape

    draw = np.random.default_rng(0)
    x, y = jnp.asarray(draw.standard_normal((2, 4))), jnp.asarray(draw.standard_normal((1, 4)))
    shapes = {"W1": (8, 2), "b1": (8, 1), "W2": (1, 8), "b2": (1, 1)}
    parameters = {name: jnp.asarray(draw.standard_normal(shape)) for name, shape in shapes.items()}

    def loss(relu, mean):
        return lambda p: mean((p["W2"] @ relu(p["W1"] @ x + p["b1"]) + p["b2"] - y) ** 2)

    found = jax.grad(loss(jax.nn.relu, jnp.mean))(parameters)
    taped = tape.gradient(loss(tape.relu, tape.mean))(parameters)
    return [[*found[n].shape, np.linalg.norm(found[n]), abs(found[n] - taped[n]).max()] for n in shapes]


def _special_points():
    """Program -> the derivative that JAX gives at 0, and the function's own; the first three are the identity."""
    programs = {
        "identity": (lambda x: x, 1.0),
        "identity as log(exp x)": (lambda x: jnp.log(jnp.exp(x)), 1.0),
        "identity with a branch at 0": (lambda x: jnp.where(x == 0, 0.0, x), 1.0),
        "|x|^1.5 by a choice": (lambda x: jnp.where(x > 0, x * jnp.sqrt(x), jnp.sqrt(-x) * -x), 0.0),
        "root with a choice outside": (lambda x: jnp.where(x > 0, jnp.sqrt(x), 0.0), np.nan),
        "root with a choice inside": (lambda x: jnp.where(x > 0, jnp.sqrt(jnp.where(x > 0, x, 1.0)), 0.0), np.nan),
        "norm of (x, 0)": (lambda x: jnp.sqrt(jnp.sum(jnp.array([x, 0.0]) ** 2)), np.nan),
    }
    return {name: (float(jax.grad(program)(0.0)), exact) for name, (program, exact) in programs.items()}


def _flow():
    """Slopes of a program with Python's loops and branches: jax, compiled, dual, tape; what the compiler says of it."""
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

    slopes = jax.grad(program(jnp)), jax.jit(jax.grad(compiled)), dual.derivative(program(dual))
    found = [slope(0.9) for slope in (*slopes, tape.gradient(program(tape)))]
    return found, _raised(lambda: jax.jit(jax.grad(program(jnp)))(0.9))


def _graph():
    """How often a gradient's program and a tape use what is not there yet, and make what is; the operations."""
    from jaxcalc.engines import tape
    from jaxcalc.programs import walk

    array = jax.ShapeDtypeStruct((3,), "float64")
    program = walk.trace(jax.grad(lambda w, x: jnp.sum(2 * jax.nn.sigmoid(w * x))), array, array)
    known, early, twice = set(program.inputs), 0, 0
    for equation in program.equations:
        early += sum(value not in known and not value.constant for value in equation.inputs)
        twice += sum(value in known for value in equation.outputs)
        known.update(equation.outputs)
    nodes = tape.graph(tape.sum(2 * tape.sigmoid(tape.variable(jnp.ones(3)) * jnp.arange(3.0))))
    place = {node: i for i, node in enumerate(nodes)}
    late = sum(place[parent] >= place[node] for node in nodes for parent, _ in node.parents)
    return [early, late, twice], np.array([f"{i} {one.name}" for i, one in enumerate(program.equations, 1)])


def _associations():
    """Gaps of three Jacobians' products: left against right, left against reverse mode, right against forward mode."""
    draw = np.random.default_rng(0)
    weights = [jnp.asarray(draw.standard_normal((4, 4))) for _ in range(3)]
    x = a = jnp.asarray(draw.standard_normal(4))

    def whole(x):
        for w in weights:
            x = jnp.tanh(w @ x)
        return x

    jacobians = []
    for w in weights:
        a = jnp.tanh(w @ a)
        jacobians.append((1 - a**2)[:, None] * w)
    first, second, third = jacobians
    left, right = (third @ second) @ first, third @ (second @ first)
    pairs = (left, right), (left, jax.jacrev(whole)(x)), (right, jax.jacfwd(whole)(x))
    return [abs(one - two).max() for one, two in pairs]


def _alike(numbers, count):
    """Each of several engines' numbers is what the ledger expects."""
    first, *others = np.split(numbers, count)
    check = close(first)
    for other in others:
        check &= close(other)
    return check


def _judge_network(numbers):
    rows, columns, norm, gap = numbers.reshape(4, 4).T
    sizes = rows * columns
    return Finding(
        close({"parameters": sizes.sum()})
        & equal([rows[[0, 2]], columns[[0, 2]]], [8, 1, 2, 8])
        & equal(sizes[[1, 3]], [8, 1])
        & less(0.0, norm)
        & below(gap, 1e-12),
        measured=f"{sizes.sum():g} parameters, norms from {norm.min():.3g}; the tape's differ by {gap.max():.2g}",
    )


def _judge_slopes(dataset):
    """Smooth programs have the function's slope; a branch has another, a choice of roots none."""
    few = 4 * np.finfo(float).eps
    return Finding(
        close(dataset.slope.sel(point=["identity", "identity as log(exp x)"]), tolerance=few),
        limits=~close(dataset.slope.sel(point="identity with a branch at 0"), tolerance=few)
        & ~holds(dataset.is_number.sel(point="|x|^1.5 by a choice")),
        measured="; ".join(f"{name} {value:g}" for name, value in zip(dataset.point.values, dataset.slope.values)),
    )


def _judge_core(dataset):
    first, again, (reused, *own) = np.split(fact(dataset, "tape-engine-equals-pytorch-core"), [3, 5])
    raised = dataset.exception.sel(trouble=["plain number", "long chain"]).values.tolist()
    return Finding(
        equal(first, [9.0, 3.0, 3.0]) & equal(reused, 6.0),
        limits=~equal(again) & equal(raised, ["AttributeError", "RecursionError"]),
        measured=f"reused inputs accumulate ({reused:g}); a second backward gives {again.tolist()}; a plain number "
        f"{raised[0]}, a long chain {raised[1]}; the tape {own}",
    )


def _judge_nodes(numbers):
    by_jax, by_tape = numbers[[0, 1, 4, 5]], numbers[[2, 3, 6, 7]]
    return close({"add": by_jax[:2], "mul": by_jax[2:]}) & close({"add": by_tape[:2], "mul": by_tape[2:]})


def _judge_flow(dataset):
    """Held against the slope by hand: at 0.9 the first turn takes the sine, the others the square."""
    flow = fact(dataset, "dynamic-graph-python-control-flow")
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
        equal(fact(dataset, "computational-graph-is-a-dag"), 0),
        measured=f"{dataset.operation.size} operations: {operations}",
    )


claims = {
    **judge_facts(
        {
            "autograd-example-8-3": lambda numbers: _alike(numbers, 3),
            "small-mlp-every-parameter-has-grad": _judge_network,
            "tape-engine-example": lambda numbers: _alike(numbers, 3),
            "dual-numbers-implement-forward-mode": lambda gap: below(abs(gap)),
            "add-node-passes-mul-node-swaps": _judge_nodes,
            "backprop-identical-to-reverse-mode": below,
        }
    ),
    "ad-always-returns-the-derivative": _judge_slopes,
    "tape-engine-equals-pytorch-core": _judge_core,
    "dynamic-graph-python-control-flow": _judge_flow,
    "computational-graph-is-a-dag": _judge_graph,
    "static-vs-dynamic-graph-history": cited,
    "backward-billion-parameters-one-pass": cited,
    "micrograd-line-count": cited,
}

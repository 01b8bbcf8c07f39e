"""The tape against closed forms, and against jax's own reverse mode."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcalc.engines import tape
from tests.tolerance import assert_close

_DRAWN = np.random.default_rng(0)
V, M, N = _DRAWN.normal(size=4), _DRAWN.normal(size=(3, 4)), _DRAWN.normal(size=(4, 2))
STACK = _DRAWN.normal(size=(5, 4, 2))


class Own:
    """The functions of the tape under the names that jax has them by."""

    exp, log, sin, cos, sqrt, tanh = tape.exp, tape.log, tape.sin, tape.cos, tape.sqrt, tape.tanh
    sigmoid, relu, softplus = tape.sigmoid, tape.relu, tape.softplus
    sum, mean, max, matmul, reshape = tape.sum, tape.mean, tape.max, tape.matmul, tape.reshape


class Jax:
    exp, log, sin, cos, sqrt, tanh = jnp.exp, jnp.log, jnp.sin, jnp.cos, jnp.sqrt, jnp.tanh
    sigmoid, relu, softplus = jax.nn.sigmoid, jax.nn.relu, jax.nn.softplus
    sum, mean, max, matmul, reshape = jnp.sum, jnp.mean, jnp.max, jnp.matmul, jnp.reshape


# One function for every rule; all take v (4,), m (3, 4), n (4, 2).
RULES = {
    "arithmetic": lambda b, p: b.sum((2 - p["v"]) * p["v"] / (3 + p["v"] * p["v"]) - 1 / (p["v"] + 9.0) + -p["v"]),
    "reused": lambda b, p: b.sum(p["v"] * p["v"] + p["v"]),
    "power": lambda b, p: b.sum(p["v"] ** 2 + (p["v"] * p["v"] + 1) ** -0.5 + p["v"] ** 0),
    "exponent": lambda b, p: b.sum(2.0 ** p["v"] + (p["m"] * p["m"]) ** p["v"]),
    "broadcast": lambda b, p: b.sum(p["m"] * p["v"] + b.reshape(p["v"], (4, 1, 1)) / (p["m"] * p["m"] + 1)),
    "exp log sqrt": lambda b, p: b.sum(b.log(1 + b.exp(p["m"]))) + b.sum(b.sqrt(p["v"] * p["v"] + 1)),
    "sin cos": lambda b, p: b.sum(b.sin(p["m"]) * b.cos(p["m"] * 2)),
    "tanh": lambda b, p: b.sum(b.tanh(3 * p["m"])),
    "sigmoid": lambda b, p: b.sum(b.sigmoid(p["m"])),
    "relu": lambda b, p: b.sum(b.relu(p["m"]) * p["v"]),
    "softplus": lambda b, p: b.sum(b.softplus(20 * p["m"])),
    "matrix matrix": lambda b, p: b.sum((p["m"] @ p["n"]) ** 2),
    "matrix vector": lambda b, p: b.sum(b.exp(p["m"] @ p["v"])),
    "vector matrix": lambda b, p: b.sum(b.exp(p["v"] @ p["n"])),
    "vector vector": lambda b, p: p["v"] @ b.sin(p["v"]),
    "constant matrix": lambda b, p: b.sum(M @ p["n"] * (jnp.asarray(M) @ p["n"])),
    "stacked": lambda b, p: b.sum(b.matmul(p["m"], STACK) ** 2 + b.matmul(p["m"], p["n"])),
    "vector stack": lambda b, p: b.sum(b.matmul(p["v"], STACK) ** 2),
    "sum": lambda b, p: b.sum(b.sum(p["m"], axis=0) ** 3) + b.sum(b.sum(p["m"], axis=(0, 1)) ** 2),
    "mean": lambda b, p: b.mean(b.mean(p["m"], axis=1) ** 3) + b.mean(p["v"] ** 2),
    "max": lambda b, p: b.sum(b.max(p["m"], axis=1) ** 2) + b.max(p["v"]),
    "index": lambda b, p: p["v"][1] * p["v"][-1] + b.sum(p["m"][:, 1:] ** 2) + b.sum(p["v"][np.array([0, 0, 2])] ** 2),
    "transpose": lambda b, p: b.sum(p["m"].T @ p["m"] * p["v"]),
    "unused": lambda b, p: b.sum(p["v"]),
    "branch": lambda b, p: b.sum(p["v"]) if p["v"][0] > 0 else p["v"][0] * p["v"][1],
}
# What both engines need to see concrete values for.
EAGER = {"branch"}


def at(dtype):
    return {"v": jnp.asarray(V, dtype), "m": jnp.asarray(M, dtype), "n": jnp.asarray(N, dtype)}


_found = {}


def everything(dtype):
    """All rules by both engines, compiled once."""
    if dtype not in _found:
        names = [name for name in RULES if name not in EAGER]
        own = lambda p: {name: tape.value_and_gradient(lambda p: RULES[name](Own, p))(p) for name in names}  # noqa: B023
        wanted = lambda p: {name: jax.value_and_grad(lambda p: RULES[name](Jax, p))(p) for name in names}  # noqa: B023
        jit = lambda fun: jax.jit(fun, compiler_options={"xla_backend_optimization_level": 0})
        _found[dtype] = jit(own)(at(dtype)), jit(wanted)(at(dtype))
    return _found[dtype]


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("name", [name for name in RULES if name not in EAGER])
def test_rules(name, dtype, x64):
    got, wanted = (each[name] for each in everything(dtype))
    assert jax.tree.structure(got) == jax.tree.structure(wanted)
    for one, other in zip(jax.tree.leaves(got), jax.tree.leaves(wanted)):
        # The value of a step with a constant of double precision may be of that.
        assert_close(np.asarray(one, dtype), other, 64, scale=1 + np.abs(other).max(), dtype=dtype)
    assert all(leaf.dtype == dtype for leaf in jax.tree.leaves(got[1]))


def test_python_control_flow(x64):
    got = tape.gradient(lambda p: RULES["branch"](Own, p))(at(jnp.float64))
    wanted = jax.grad(lambda p: RULES["branch"](Jax, p))(at(jnp.float64))
    jax.tree.map(np.testing.assert_array_equal, got, wanted)


# -- closed forms --------------------------------------------------------------------------------------------------


def test_worked_example():
    """a b + b at (2, 3): value 9, gradients 3 and 3; a second walk gives the same, nothing piles up."""
    a, b = tape.variable(2.0, "a"), tape.variable(3.0, "b")
    output = a * b + b
    assert output.value == 9
    for _ in range(2):
        gradients = tape.backward(output)
        assert gradients[a] == 3 and gradients[b] == 3
    assert tape.gradient(lambda x: x[0] ** 2 + 3 * x[0] * x[1])(jnp.asarray([1.0, 2.0])).tolist() == [8, 3]


def test_a_reused_input_gathers_all_its_shares():
    assert tape.gradient(lambda x: x * x)(3.0) == 6
    # A diamond: the shared node must be complete before it is passed.
    assert tape.gradient(lambda x: (lambda y: y * y + 3 * y)(2 * x))(1.0) == 14


def test_long_chains_need_no_recursion():
    def fun(x):
        for _ in range(5000):
            x = x + 1
        return x

    assert tape.gradient(fun)(0.0) == 1


def test_conventions_at_ties_and_kinks():
    assert tape.gradient(tape.relu)(0.0) == 0
    assert tape.gradient(tape.max)(jnp.asarray([1.0, 2.0, 2.0])).tolist() == [0, 0.5, 0.5]
    assert tape.gradient(lambda x: x**0)(0.0) == 0
    assert tape.gradient(lambda x: x**2)(0.0) == 0
    assert np.isfinite(tape.gradient(tape.softplus)(1e4)) and np.isfinite(tape.gradient(tape.sigmoid)(-1e4))


def test_sizes_and_dtypes(x64):
    assert tape.gradient(tape.sum)(jnp.zeros((0, 3))).shape == (0, 3)
    assert tape.gradient(lambda x: tape.sum(x * x))(np.array([1, 2])).tolist() == [2, 4]
    assert tape.gradient(lambda x: tape.sum(x * np.ones((2, 1, 3))))(jnp.ones((4, 1), jnp.float32)).dtype == jnp.float32
    value, slope = tape.value_and_gradient(lambda x: 2.5)(jnp.ones(2))
    assert value == 2.5 and slope.tolist() == [0, 0]


def test_seeds(x64):
    """A walk with seed u gives J^T u: <u, J v> = <J^T u, v>."""
    x, u, v = jnp.asarray(V), _DRAWN.normal(size=3), _DRAWN.normal(size=4)
    node = tape.variable(x)
    pulled = tape.backward(tape.tanh(M @ node) * node[0], u)[node]
    pushed = jax.jvp(lambda x: jnp.tanh(M @ x) * x[0], (x,), (jnp.asarray(v),))[1]
    assert_close(pulled @ v, u @ pushed, 16)


def test_under_jit_and_vmap(x64):
    fun = lambda b: lambda x: b.sum(b.tanh(M @ x) * x[0])
    points = jnp.asarray(_DRAWN.normal(size=(3, 4)))
    got = jax.jit(jax.vmap(tape.gradient(fun(Own))))(points)
    assert_close(got, jax.vmap(jax.grad(fun(Jax)))(points), 64)


def test_sigmoid_reuses_its_value():
    """One logistic function in the forward and backward pass together."""
    program = str(jax.make_jaxpr(tape.value_and_gradient(lambda x: tape.sum(tape.sigmoid(x))))(jnp.ones(3)))
    assert program.count("logistic") == 1


# -- training ------------------------------------------------------------------------------------------------------

XOR = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], float), np.array([[0], [1], [1], [0]], float)


def cross_entropy(p):
    x, y = XOR
    z = tape.tanh(x @ p["w1"] + p["b1"]) @ p["w2"] + p["b2"]
    return tape.mean(tape.softplus(z) - y * z)


def test_a_two_layer_network_learns_xor(x64):
    keys = jax.random.split(jax.random.key(0), 2)
    start = {
        "w1": jax.random.normal(keys[0], (2, 4)),
        "b1": jnp.zeros(4),
        "w2": jax.random.normal(keys[1], (4, 1)),
        "b2": jnp.zeros(1),
    }

    @jax.jit
    def trained(p):
        def step(p, _):
            value, slope = tape.value_and_gradient(cross_entropy)(p)
            return jax.tree.map(lambda w, g: w - g, p, slope), value

        return jax.lax.scan(step, p, None, length=2000)

    end, values = trained(start)
    assert values[0] > 0.5
    assert float(cross_entropy(end)) < 1e-2
    x, y = XOR
    outputs = jax.nn.sigmoid(jnp.tanh(x @ end["w1"] + end["b1"]) @ end["w2"] + end["b2"])
    np.testing.assert_array_equal(np.round(outputs), y)


# -- the graph -----------------------------------------------------------------------------------------------------


def network():
    w, x = tape.variable(jnp.ones((2, 3)), "w"), tape.variable(jnp.ones(3), "x")
    return tape.sum(tape.sigmoid(w @ x) * 2)


def test_the_graph_is_in_topological_order():
    nodes = tape.graph(network())
    places = {node: i for i, node in enumerate(nodes)}
    assert [node.operation for node in nodes] == ["w", "x", "@", "sigmoid", "*", "sum"]
    assert all(places[parent] < places[node] for node in nodes for parent, _ in node.parents)


def test_dot_source():
    source = tape.dot_source(network())
    assert source.startswith("digraph {") and source.endswith("}")
    assert source.count("->") == 5
    assert source.count("shape=box") == 2
    assert 'label="w [2, 3]"' in source and "sum = 3.81" in source


def test_drawing_places_every_node_right_of_its_parents():
    output = network()
    figure = tape.draw(output)
    (axes,) = figure.axes
    drawn = {text.get_text(): text.get_position() for text in axes.texts if text.get_text()}
    assert len(drawn) == 6
    assert len(axes.texts) == 6 + 5
    assert drawn["w [2, 3]"][0] == drawn["x [3]"][0] < drawn["@ [2]"][0] < drawn["sigmoid [2]"][0]
    figure.canvas.draw()


def test_under_jit_a_label_shows_shapes():
    labels = []
    jax.make_jaxpr(lambda x: labels.append(tape.dot_source(tape.variable(x, "x") * 2)) or x)(1.0)
    assert "x []" in labels[0]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: tape.gradient(tape.sin)(jnp.ones(2)), TypeError, "return a scalar"),
        (lambda: tape.gradient(lambda x: (x, x))(1.0), TypeError, "return a scalar"),
        (lambda: tape.backward(tape.variable(jnp.ones(2))), ValueError, "pass a seed"),
        (lambda: tape.gradient(tape.gradient(lambda x: x * x))(1.0), TypeError, "do not nest"),
    ],
)
def test_misuse(call, error, message):
    with pytest.raises(error, match=message):
        call()

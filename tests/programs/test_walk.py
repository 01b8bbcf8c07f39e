"""The reading of programs: what it relies on in JAX, and that a program read, pruned and rebuilt is the same function.

``execute`` is the oracle: it runs a ``Program`` as its classes are documented, and knows nothing of how it was read.
"""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from jax import lax
from jax.extend import core
from jax.sharding import AxisType, PartitionSpec

from jaxcalc.programs import walk
from tests.generated import programs

FAST = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
ORDINARY = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)


def execute(program: walk.Program, *inputs: Any) -> tuple[Any, ...]:
    """The outputs of a program for these inputs."""
    assert len(inputs) == len(program.inputs)
    known = dict(zip(program.inputs, inputs))
    read = lambda value: known[value] if value in known else jnp.asarray(value.literal, value.dtype)
    for equation in program.equations:
        outputs = _execute_one(equation, [read(value) for value in equation.inputs])
        assert len(outputs) == len(equation.outputs)
        known.update(zip(equation.outputs, outputs))
    return tuple(read(value) for value in program.outputs)


def _execute_one(equation: walk.Equation, inputs: list[Any]) -> Sequence[Any]:
    match equation.nested:
        case walk.Scan() as scan:
            constants, carry = inputs[: scan.num_constants], inputs[scan.num_constants :][: scan.num_carry]
            stacked = inputs[scan.num_constants + scan.num_carry :]

            def body(carry, rows):
                outputs = execute(scan.body, *constants, *carry, *rows)
                return outputs[: scan.num_carry], outputs[scan.num_carry :]

            carry, ys = lax.scan(body, tuple(carry), tuple(stacked), scan.length, scan.reverse)
            return (*carry, *ys)
        case walk.While() as loop:
            a, b = loop.num_condition_constants, loop.num_body_constants
            condition = lambda carry: execute(loop.condition, *inputs[:a], *carry)[0]
            body = lambda carry: execute(loop.body, *inputs[a : a + b], *carry)
            return lax.while_loop(condition, body, tuple(inputs[a + b :]))
        case walk.Branches() as choice:
            branches = [lambda *xs, branch=branch: execute(branch, *xs) for branch in choice.branches]
            return lax.switch(inputs[0].astype(jnp.int32), branches, *inputs[1:])
        case walk.Solve() as solve:
            start, taken = 0, []
            for part, count in solve.constants.items():
                taken = inputs[start : start + count] if part == "solve" else taken
                start += count
            return execute(solve.parts["solve"], *taken, *inputs[start:])
        case walk.Shards() as shards:
            assert shards.count == 1
            return execute(shards.body, *inputs)
    results = equation.primitive.bind(*inputs, **equation.params)
    return results if equation.primitive.multiple_results else [results]


def same(first: Sequence[Any], second: Any) -> None:
    for one, other in zip(first, jax.tree.leaves(second), strict=True):
        # In both precisions: the same steps, hence the same numbers up to the order of a sum.
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)


# -- what is relied on in JAX --------------------------------------------------------------------------------------


@jax.custom_jvp
def doubled(x):
    return 2 * x


doubled.defjvp(lambda primals, tangents: (2 * primals[0], 2 * tangents[0]))


@jax.custom_vjp
def tripled(x):
    return 3 * x


tripled.defvjp(lambda x: (3 * x, None), lambda _, u: (3 * u,))


def sharded(x):
    mesh = jax.make_mesh((1,), ("i",), axis_types=(AxisType.Auto,))
    spec = PartitionSpec("i")
    return jax.shard_map(jnp.sin, mesh=mesh, in_specs=spec, out_specs=spec)(x)


def solved(x):
    half = lambda _, b: b / 2
    return lax.custom_linear_solve(lambda v: 2 * v, x, half, half)


LAYOUTS = {
    "jit": (lambda x: jax.jit(jnp.sin)(x), {"jit", "pjit"}, {"jaxpr"}),
    "remat": (lambda x: jax.checkpoint(jnp.sin)(x), {"remat", "remat2", "checkpoint"}, {"jaxpr"}),
    "custom_jvp_call": (lambda x: doubled(x), {"custom_jvp_call"}, {"call_jaxpr"}),
    "custom_vjp_call": (lambda x: tripled(x), {"custom_vjp_call"}, {"call_jaxpr"}),
    "scan": (lambda x: lax.scan(lambda c, r: (c * r, c), 1.0, x), {"scan"}, {"jaxpr", "length", "reverse", "unroll"}),
    "while": (
        lambda x: lax.while_loop(lambda s: s[0] < 1, lambda s: s * x, x),
        {"while"},
        {"cond_jaxpr", "body_jaxpr", "cond_nconsts", "body_nconsts"},
    ),
    "cond": (lambda x: lax.cond(x.sum() > 0, jnp.sin, jnp.cos, x), {"cond"}, {"branches"}),
    "custom_linear_solve": (solved, {"custom_linear_solve"}, {"jaxprs", "const_lengths"}),
    "shard_map": (sharded, {"shard_map"}, {"jaxpr", "mesh"}),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_jax_lays_its_programs_out_as_walk_reads_them(name):
    """A version of JAX that moves one of these must be taught to ``walk`` before anything else can be right."""
    fun, names, params = LAYOUTS[name]
    equations = [e for e in jax.make_jaxpr(fun)(jnp.ones(3)).jaxpr.eqns if e.primitive.name in names]
    assert len(equations) == 1
    assert params <= set(equations[0].params)
    match name:
        case "scan":
            old, new = {"num_consts", "num_carry"}, {"ft_in"}
            assert old <= set(equations[0].params) or new <= set(equations[0].params)
            assert walk._scan_counts(equations[0].params) == (0, 1)
        case "custom_linear_solve":
            fields = {"matvec", "vecmat", "solve", "transpose_solve"}
            assert set(equations[0].params["jaxprs"]._asdict()) == fields
            assert set(equations[0].params["const_lengths"]._asdict()) == fields


def test_a_custom_vjp_shows_in_the_tangent_program_under_the_name_that_readers_look_for():
    program, _ = walk.tangent(lambda x: tripled(x), jnp.ones(3))
    assert "custom_lin" in {equation.name for equation in program.everything()}
    program, _ = walk.cotangent(lambda x: tripled(x), jnp.ones(3))
    assert "custom_lin" not in {equation.name for equation in program.everything()}


class FlatTree:
    """As JAX 0.11 groups what goes into a scan: a tuple of groups, each with a length."""

    def __init__(self, *groups: int):
        self.groups = groups

    def unpack(self):
        return tuple(range(count) for count in self.groups)

    def __len__(self):
        return sum(self.groups)


def test_scans_are_counted_in_both_layouts():
    assert walk._scan_counts({"num_consts": 2, "num_carry": 3}) == (2, 3)
    assert walk._scan_counts({"ft_in": FlatTree(2, 3, 4), "ft_out": FlatTree(3, 1)}) == (2, 3)
    assert walk._scan_counts({"ft_in": FlatTree(0, 0, 1)}) == (0, 0)
    with pytest.raises(TypeError, match="ft_in, got \\['consts', 'length'\\]"):
        walk._scan_counts({"length": 3, "consts": 1})


class Merged:
    """As JAX 0.11 holds a program: open and closed in one class, with constants, and ``.jaxpr`` is itself."""

    def __init__(self, closed: Any):
        self.constvars, self.consts = closed.jaxpr.constvars, closed.consts
        self.invars, self.outvars = closed.jaxpr.invars, closed.jaxpr.outvars
        self.eqns = [self._renewed(equation) for equation in closed.jaxpr.eqns]
        self.jaxpr = self

    def _renewed(self, equation: Any) -> Any:
        params = dict(equation.params)
        if equation.primitive.name == "scan" and "num_consts" in params:
            counts = params.pop("num_consts"), params.pop("num_carry")
            params["ft_in"] = FlatTree(*counts, len(equation.invars) - sum(counts))
            params["jaxpr"] = Merged(params["jaxpr"])
        return SimpleNamespace(
            primitive=equation.primitive, params=params, invars=equation.invars, outvars=equation.outvars
        )


def test_a_program_in_the_new_layout_is_the_same_function(x64):
    table = np.arange(4.0)

    def fun(x, y):
        (a, _), ys = lax.scan(lambda c, row: ((c[0] * y + row, c[1] + 1), jnp.sin(c[0]) * row), (y, 0), x)
        return a, ys * table

    x, y = jnp.linspace(0.1, 0.9, 4), jnp.float64(0.7)
    closed = jax.make_jaxpr(fun)(x, y)
    program = walk.read(Merged(closed))
    assert [e.nested.num_constants for e in program.equations if isinstance(e.nested, walk.Scan)] == [1]
    same(execute(program, x, y), fun(x, y))
    same(execute(walk.prune(program), x, y), fun(x, y))


# -- reading -------------------------------------------------------------------------------------------------------


def names(program: walk.Program) -> list[str]:
    return [equation.name for equation in program.equations]


def test_plain_calls_are_inlined_and_may_be_kept():
    def fun(x):
        return jax.checkpoint(lambda a: doubled(jax.jit(jnp.sin)(a)))(x) + tripled(x)

    assert sorted(names(walk.trace(fun, jnp.ones(2)))) == ["add", "mul", "mul", "sin"]
    kept = walk.trace(fun, jnp.ones(2), keep=("custom_jvp_call",))
    assert sorted(names(kept)) == ["add", "custom_jvp_call", "mul", "sin"]


def test_everything_holds_the_equations_of_nested_programs():
    def fun(x):
        return lax.scan(lambda c, r: (lax.cond(r > 0, jnp.sin, jnp.cos, c), None), 1.0, x)[0]

    found = [equation.name for equation in walk.trace(fun, jnp.ones(2)).everything()]
    assert {"scan", "cond", "sin", "cos"} <= set(found)
    assert found.index("scan") < found.index("cond") < found.index("sin")


def test_a_program_is_read_from_shapes_alone():
    huge = jax.ShapeDtypeStruct((10**6, 10**6), jnp.float32)
    program = walk.trace(lambda x: jnp.sin(x).sum(), huge)
    assert program.inputs[0].bytes == 4 * 10**12
    assert program.outputs[0].shape == ()


def test_constants_are_literals_also_where_they_are_tracers():
    table = np.arange(3.0)
    program = walk.trace(lambda x: x * table + 2.0, jnp.ones(3))
    literals = [value.literal for equation in program.equations for value in equation.inputs]
    assert any(np.shape(literal) == (3,) and np.array_equal(literal, table) for literal in literals)
    held = []

    @jax.jit
    def outer(y):
        held.extend(walk.trace(lambda x: x * y, jnp.ones(3)).equations[0].inputs)
        return y

    outer(jnp.ones(3))
    assert any(isinstance(value.literal, jax.core.Tracer) for value in held)


def test_the_free_constants_of_an_open_jaxpr_come_first():
    closed = jax.make_jaxpr(lambda x: x * np.arange(3.0, dtype=np.float32))(jnp.ones(3))
    program = walk.read(closed.jaxpr)
    if isinstance(closed.jaxpr, core.ClosedJaxpr):  # JAX 0.11: a program keeps its constants
        assert len(program.inputs) == 1
    else:
        assert len(program.inputs) == 2
        same(execute(program, jnp.arange(3.0), jnp.full(3, 2.0)), jnp.arange(3.0) * 2)


def test_values_know_their_size():
    program = walk.trace(lambda key, x: (jax.random.normal(key, (2,)), x), jax.random.key(0), jnp.ones((2, 3)))
    assert program.inputs[0].size == 1
    assert program.inputs[0].bytes == 8
    assert not program.inputs[0].inexact
    assert (program.inputs[1].size, program.inputs[1].bytes, program.inputs[1].inexact) == (6, 24, True)


def test_integers_have_no_tangent():
    program, count = walk.tangent(lambda x, k: (x[k], k + 1), jnp.ones(3), jnp.arange(2))
    assert count == 2
    assert [value.inexact for value in program.outputs] == [True, False]
    program, _ = walk.cotangent(lambda x, k: (x[k], k + 1), jnp.ones(3), jnp.arange(2))
    assert program.outputs[0].inexact


def test_dependents_are_what_an_input_reaches():
    def fun(x, y):
        (a, b), _ = lax.scan(lambda c, _: ((c[0] * y, c[1] + 1), None), (y, 0), None, 3)
        return jnp.sin(x), a, jnp.cos(y) + b, 3.0 + jnp.zeros(())

    program = walk.trace(fun, 1.0, 2.0)
    reach = [value in walk.dependents(program, [0]) for value in program.outputs]
    assert reach == [True, False, False, False]
    reach = [value in walk.dependents(program, [1]) for value in program.outputs]
    assert reach == [False, True, True, False]
    assert walk.dependents(program, []) == set()


# -- pruning -------------------------------------------------------------------------------------------------------


def only(program: walk.Program, kind: type) -> walk.Equation:
    (found,) = [equation for equation in program.equations if isinstance(equation.nested, kind)]
    return found


def test_a_scan_loses_the_carries_inputs_and_outputs_that_nobody_needs(x64):
    def fun(x, y, w):
        def body(carry, rows):
            kept, feeds, unused, alone = carry
            new = (kept + feeds, feeds * rows[0], jnp.sin(unused) * w, alone + rows[1])
            return new, (kept * 2, unused, jnp.cos(rows[1]))

        (kept, *_), (first, *_) = lax.scan(body, (y, y, y, y), (x, x + 1))
        return kept, first

    args = jnp.linspace(0.1, 0.4, 3), jnp.float64(0.5), jnp.float64(2.0)
    whole = walk.trace(fun, *args)
    pruned = walk.prune(whole)
    equation = only(pruned, walk.Scan)
    scan = equation.nested
    assert (scan.num_constants, scan.num_carry, scan.length) == (0, 2, 3)
    assert len(equation.inputs) == 3  # two carries, one stacked input
    assert len(equation.outputs) == 3  # two carries, one stacked output
    assert "sin" not in names(scan.body)
    assert "cos" not in names(scan.body)
    assert len(pruned.inputs) == len(whole.inputs)  # inputs keep their places
    same(execute(pruned, *args), fun(*args))
    last = walk.prune(whole, [1])
    assert len(last.outputs) == 1
    same(execute(last, *args), fun(*args)[1:])


def test_a_carry_that_is_needed_only_by_a_later_trip_is_kept(x64):
    def fun(x):
        shift = lambda carry, _: ((x, carry[0], carry[1], carry[2]), None)
        return lax.scan(shift, (0 * x, x + 1, x + 2, x + 3), None, 2)[0][3]

    pruned = walk.prune(walk.trace(fun, 0.3))
    assert only(pruned, walk.Scan).nested.num_carry == 4
    same(execute(pruned, jnp.float64(0.3)), fun(0.3))


def test_a_while_keeps_what_its_condition_needs(x64):
    def fun(x, w):
        state = (0, x, x, x)
        body = lambda s: (s[0] + 1, jnp.sin(s[1]) * w, s[2] * 0.9, jnp.cos(s[3]))
        return lax.while_loop(lambda s: (s[0] < 4) & (s[2] > w - 2), body, state)[1]

    args = jnp.float64(0.7), jnp.float64(1.1)
    pruned = walk.prune(walk.trace(fun, *args))
    equation = only(pruned, walk.While)
    assert len(equation.outputs) == 3  # the counter, the result, and what the condition reads
    assert "cos" not in names(equation.nested.body)
    assert (equation.nested.num_condition_constants, equation.nested.num_body_constants) == (1, 1)
    same(execute(pruned, *args), [fun(*args)])


def test_branches_lose_outputs_and_the_inputs_that_were_for_them(x64):
    def fun(x, y, z):
        first = lambda x, y, z: (jnp.sin(x), jnp.exp(z), y)
        second = lambda x, y, z: (x * y, z, jnp.cos(z))
        return lax.cond(x > 0, first, second, x, y, z)[0]

    args = jnp.float64(-0.4), jnp.float64(0.6), jnp.float64(0.2)
    pruned = walk.prune(walk.trace(fun, *args))
    equation = only(pruned, walk.Branches)
    assert len(equation.inputs) == 3  # the index, x and y
    assert all(len(branch.inputs) == 2 and len(branch.outputs) == 1 for branch in equation.nested.branches)
    for sign in (-1, 1):
        same(execute(pruned, sign * args[0], *args[1:]), [fun(sign * args[0], *args[1:])])


def test_pruning_reaches_into_loops_in_loops(x64):
    def fun(x):
        def outer(carry, row):
            a, b = lax.fori_loop(0, 2, lambda i, s: (jnp.sin(s[0]) + row, jnp.tan(s[1])), carry)
            return (a, lax.cond(row > 0.3, jnp.exp, jnp.log, b)), a

        return lax.scan(outer, (x[0], x[1]), x)[1]

    x = jnp.array([0.2, 0.5, 0.9])
    pruned = walk.prune(walk.trace(fun, x))
    found = {equation.name for equation in pruned.everything()}
    assert "sin" in found
    assert not {"tan", "exp", "log", "cond"} & found
    same(execute(pruned, x), [fun(x)])


def test_pruning_drops_what_is_unused_and_nothing_else():
    program = walk.trace(lambda x, y: (jnp.sin(x), jnp.cos(y), y), 1.0, 2.0)
    assert names(walk.prune(program, [0])) == ["sin"]
    assert names(walk.prune(program, [2])) == []
    assert walk.prune(program, [2]).outputs == (program.inputs[1],)
    assert walk.prune(program, []).outputs == ()
    assert names(walk.prune(program)) == ["sin", "cos"]


@pytest.mark.parametrize("fun", [sharded, solved, lambda x: lax.scan(lambda c, r: (c, r), 0.0, x)[1]])
def test_what_is_read_is_the_same_function(x64, fun):
    x = jnp.linspace(0.1, 1.0, 3)
    program = walk.trace(fun, x)
    same(execute(program, x), [fun(x)])
    same(execute(walk.prune(program), x), [fun(x)])


@ORDINARY
@given(programs())
def test_generated_programs_survive_reading_and_pruning(case):
    """The program, and the programs that forward and reverse mode execute, pruned, are what JAX computes."""
    with jax.enable_x64(True):
        args = case.args()
        x, rest = args[0], args[1:]
        fun = jax.jit(lambda x: case(x, *rest))
        like = lambda tree: jax.tree.map(lambda leaf: jnp.cos(1.0 + jnp.arange(leaf.size)).reshape(leaf.shape), tree)
        v, u = like(x), like(jax.eval_shape(fun, x))
        leaves = jax.tree.leaves

        def pairs(x, v, u):
            whole = walk.trace(fun, x)
            yield execute(walk.prune(whole), *leaves(x)), fun(x)
            last = len(whole.outputs) - 1
            yield execute(walk.prune(whole, [last]), *leaves(x)), leaves(fun(x))[last:]
            if case.forward_allowed:
                program, count = walk.tangent(fun, x)
                assert count == len(leaves(x))
                yield execute(walk.prune(program), *leaves(x), *leaves(v)), jax.jvp(fun, (x,), (v,))[1]
            if case.reverse_allowed:
                program, count = walk.cotangent(fun, x)
                yield execute(walk.prune(program), *leaves(x), *leaves(u)), jax.vjp(fun, x)[1](u)

        for actual, expected in jax.jit(lambda *a: list(pairs(*a)), compiler_options=FAST)(x, v, u):
            same(actual, expected)

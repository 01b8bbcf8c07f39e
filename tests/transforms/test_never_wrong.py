"""No strategy is ever silently wrong: over generated programs each equals the dense derivative, or is refused.

The oracle is JAX's own dense derivative. The strategies share JAX's product rules with it, but none of what they add:
detection, colouring, decompression, chunks, forward propagation, and the choice between them.
"""

import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

from jaxcalc.programs.sparsity import hessian_pattern, jacobian_pattern
from jaxcalc.transforms import (
    MemoryBudgetError,
    diagonal,
    forward_laplacian,
    hessian,
    hvp,
    jacobian,
    laplacian,
    plan,
    taylor,
    trace,
)
from tests.generated import Case, programs, scalar_programs

# Compiling is nearly all the time that these tests take, and small programs need no optimiser.
FAST = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
HEALTH = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]


def ordinary(examples: int = 100) -> settings:
    """The same examples at every run, that a change is judged by nothing but itself."""
    return settings(max_examples=examples, deadline=None, derandomize=True, database=None, suppress_health_check=HEALTH)


def exhaustive(test: Callable[..., None]) -> Callable[..., None]:
    """Thousands of examples, other ones each time; a failure prints the case that reproduces it."""
    many = settings(max_examples=2000, deadline=None, database=None, suppress_health_check=HEALTH, print_blob=True)
    return pytest.mark.exhaustive(many(test))


def evaluate(calls: dict[str, Callable[..., Any]], case: Case, allowed: dict[str, bool]) -> Iterator[dict[str, Any]]:
    """The result of every call at several points, by one compiled program.

    Only what is not ``allowed`` may be refused, with words that say why; what is refused has no result.
    """
    refused: dict[str, Exception] = {}

    def together(*args):
        results = {}
        for name, call in calls.items():
            try:
                results[name] = call(*args)
            except (ValueError, NotImplementedError) as error:
                refused[name] = error
        return results

    program = jax.jit(together, compiler_options=FAST)
    for seed in range(2):
        yield program(case.args(seed)[0], *case.args()[1:])
    for name, error in refused.items():
        assert not allowed.get(name, True), f"{name} was refused: {error}"
        assert len(str(error)) > 20, f"{name} was refused without a reason: {error}"


def judged(check: Callable[..., None]) -> Callable[..., None]:
    """A check whose failure counts only where JAX has the derivatives itself, and compiles them rightly.

    XLA on CPUs miscompiles some gathers that feed a scatter: there jit alone changes what ``jax.jacfwd`` returns, and
    the oracle with it; what JAX computes operation by operation tells. Second derivatives of conjugate gradients with
    a constant matrix are a TypeError inside JAX.
    """

    @functools.wraps(check)
    def tried(case, *rest):
        try:
            check(case, *rest)
        except (AssertionError, TypeError):
            with jax.enable_x64(True):
                if beyond_jax(case):
                    reject()
            raise

    return tried


def beyond_jax(case: Case) -> bool:
    """Whether JAX lacks the first two derivatives of a program, or compiling changes them, at ``evaluate``'s points."""
    first = jax.jacfwd if case.forward_allowed else jax.jacrev
    v = direction(case.args()[0])
    of = {"value": case, "first": first(case)}
    if case.forward_allowed:
        of["second"] = lambda x, *rest: jax.jvp(lambda x: first(case)(x, *rest), (x,), (v,))[1]
    for fun in of.values():
        for seed in range(2):
            args = (case.args(seed)[0], *case.args()[1:])
            try:
                assert_same(jax.jit(fun, compiler_options=FAST)(*args), fun(*args), "", 1e-7)
            except (AssertionError, TypeError):
                return True
    return False


def assert_same(actual: Any, expected: Any, said: str, rtol: float = 1e-8) -> None:
    """The same structure, shapes and dtypes, and values up to rounding against the largest."""
    assert jax.tree.structure(actual) == jax.tree.structure(expected), said
    for got, want in zip(jax.tree.leaves(actual), jax.tree.leaves(expected)):
        assert (got.shape, got.dtype) == (want.shape, want.dtype), said
        scale = np.max(np.abs(want), initial=0)
        np.testing.assert_allclose(got, want, rtol=rtol, atol=1e-12 + rtol * scale, err_msg=said)


def dense_jacobian(case: Case) -> Callable[..., Any]:
    fun = jax.jit(case)
    return jax.jacfwd(fun) if case.forward_allowed else jax.jacrev(fun)


def dense_hessian(case: Case) -> Callable[..., Any]:
    fun = jax.jit(case)
    if not case.reverse_allowed:
        return jax.jacfwd(jax.jacfwd(fun))
    # The rule of a custom_vjp may call the function itself again, which no forward mode goes through.
    return jax.hessian(fun) if case.forward_allowed else jax.jacrev(jax.jacrev(fun))


def assert_covers(pattern: Any, blocks: Any, heights: list[int], case: Case, args: tuple[Any, ...]) -> None:
    """Every entry that differs from zero is in the pattern."""
    numbers = as_matrix(blocks, heights, args)
    matrix = pattern.matrix.toarray()
    assert matrix.shape == numbers.shape
    missing = np.argwhere((numbers != 0) & ~matrix)
    assert not len(missing), f"entries {missing.tolist()} are missing from the pattern"


def sizes(tree: Any) -> list[int]:
    return [leaf.size for leaf in jax.tree.leaves(tree)]


def as_matrix(blocks: Any, heights: list[int], args: tuple[Any, ...]) -> np.ndarray:
    """A tree of derivatives as one matrix: outputs (or first inputs) of these sizes down, inputs across."""
    widths, leaves = sizes(args[0]), [np.asarray(leaf) for leaf in jax.tree.leaves(blocks)]
    lines = [leaves[i : i + len(widths)] for i in range(0, len(leaves), len(widths))]
    return np.block([[b.reshape(m, n) for b, n in zip(line, widths)] for line, m in zip(lines, heights)])


def ravel(tree: Any) -> np.ndarray:
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


def direction(x: Any) -> Any:
    """A direction in which nothing is zero."""
    return jax.tree.map(lambda leaf: jnp.cos(1.0 + jnp.arange(leaf.size)).reshape(leaf.shape), x)


def in_x(fun: Callable[..., Any], args: tuple[Any, ...]) -> Callable[[Any], Any]:
    """The function of its first argument alone."""
    return lambda x: fun(x, *args[1:])


def stored(operator: Callable[..., Any], fun: Callable[..., Any]) -> Callable[..., Any]:
    """An operator's result in compressed form, written out."""

    def call(*args):
        blocks = operator(fun, method="sparse", output_format="bcoo")(*args)
        return jax.tree.map(lambda block: block.todense(), blocks, is_leaf=lambda leaf: hasattr(leaf, "todense"))

    return call


def some(names: tuple[str, ...], count: int = 2) -> st.SearchStrategy[list[str]]:
    """A few of the routes: an ordinary run takes all of them over its examples, an exhaustive one in each."""
    return st.lists(st.sampled_from(names), min_size=count, max_size=count, unique=True)


# -- Jacobians -----------------------------------------------------------------------------------------------------

JACOBIANS: dict[str, dict[str, Any]] = {
    "auto": {},
    "sparse": {"method": "sparse"},
    "bidirectional": {"method": "bidirectional"},
    "forward": {"method": "forward"},
    "reverse": {"method": "reverse"},
    "bcoo": {},
    "chunks of 1": {"chunk_size": 1},
    "chunks of 3": {"chunk_size": 3},
    "sparse chunks": {"method": "sparse", "chunk_size": 1},
}


@judged
def check_jacobian(case: Case, names: Iterable[str] = tuple(JACOBIANS)) -> None:
    """The pattern and the routes named, at several points with one compiled program."""
    with jax.enable_x64(True):
        args, fun = case.args(), jax.jit(case)  # traced once for all of them
        pattern = jacobian_pattern(in_x(fun, args), args[0])
        calls = {n: stored(jacobian, fun) if n == "bcoo" else jacobian(fun, **JACOBIANS[n]) for n in names}
        allowed = dict.fromkeys(("sparse", "bidirectional", "bcoo", "sparse chunks"), case.both_allowed)
        allowed |= {"forward": case.forward_allowed, "reverse": case.reverse_allowed}
        for results in evaluate({"dense": dense_jacobian(case), **calls}, case, allowed):
            assert_covers(pattern, results["dense"], sizes(jax.eval_shape(fun, *args)), case, args)
            for name, result in results.items():
                assert_same(result, results["dense"], f"jacobian, {name}")


@ordinary()
@given(programs(), some(tuple(JACOBIANS)))
def test_every_jacobian_is_the_dense_one(case, names):
    check_jacobian(case, names)


@exhaustive
@given(programs())
def test_every_jacobian_is_the_dense_one_over_many(case):
    check_jacobian(case)


@ordinary(8)
@given(programs(), st.sampled_from([600, 3_000, 20_000]))
def test_a_memory_budget_changes_no_result(case, budget):
    """A budget picks the route and the chunk; one that nothing fits is an error that names its need."""
    with jax.enable_x64(True):
        try:
            made = plan(jacobian, case, *case.args(), memory_budget=budget)
        except MemoryBudgetError:
            with pytest.raises(MemoryBudgetError, match=r"\d"):  # it names what is needed, in numbers
                jacobian(case, memory_budget=budget)(*case.args())
            return
        calls = {"dense": dense_jacobian(case), "plan": made, "call": jacobian(case, memory_budget=budget)}
        for results in evaluate(calls, case, {}):
            assert_same(results["plan"], results["dense"], f"plan by {made.method}")
            assert_same(results["call"], results["dense"], "jacobian with a budget")


LAWS = ("vmap", "again", "transpose")


@judged
def check_law(case: Case, method: str, law: str) -> None:
    """One of the laws that a Jacobian obeys, by one method."""
    with jax.enable_x64(True):
        args, direct = case.args(), dense_jacobian(case)
        fun, v = jax.jit(case), direction(args[0])
        made = jacobian(fun, method=method)
        batch = lambda x: jax.tree.map(lambda leaf: jnp.stack([leaf, 0.9 * leaf + 0.05]), x)
        each = lambda operator: lambda x, *rest: jax.vmap(lambda x: operator(x, *rest))(batch(x))
        along = lambda operator: lambda x, *rest: jax.jvp(lambda x: operator(x, *rest), (x,), (v,))[1]
        wrap = {"vmap": each, "again": along, "transpose": lambda operator: operator}[law]
        calls = {"made": wrap(made), "dense": wrap(direct)}
        if law == "transpose":
            calls["dense"] = along(fun)
        for results in evaluate(calls, case, {"made": method == "auto" or case.both_allowed}):
            if "made" not in results:
                continue
            if law != "transpose":
                assert_same(results["made"], results["dense"], f"{law} of jacobian, {method}", 1e-7)
                continue
            matrix = as_matrix(results["made"], sizes(results["dense"]), args)
            u = np.sin(1.0 + np.arange(len(matrix)))
            scale = np.max(np.abs(matrix), initial=0)
            left, right = u @ ravel(results["dense"]), (matrix.T @ u) @ ravel(v)
            # Generated programs have any condition number, hence more than their few steps round off.
            np.testing.assert_allclose(left, right, rtol=1e-8, atol=1e-12 + 1e-8 * scale)


def laws(case: Case) -> tuple[str, ...]:
    """The laws that speak of no mode that the program has not."""
    return LAWS if case.forward_allowed else LAWS[:1]


@ordinary(15)
@given(programs(most=3), st.sampled_from(["auto", "sparse"]), st.sampled_from(LAWS))
def test_a_jacobian_obeys_the_laws(case, method, law):
    """It commutes with ``vmap``, can be differentiated again, and its transpose is adjoint to JAX's own product."""
    check_law(case, method, law if law in laws(case) else "vmap")


@exhaustive
@given(programs(most=4), st.sampled_from(["auto", "sparse"]))
def test_a_jacobian_obeys_the_laws_over_many(case, method):
    for law in laws(case):
        check_law(case, method, law)


@ordinary(5)
@given(programs(most=2), st.sampled_from(["auto", "sparse"]))
def test_a_jacobian_needs_no_jit(case, method):
    """Outside of jit the arguments are concrete, which must not change what a route may assume."""
    with jax.enable_x64(True):
        expected = jax.jit(dense_jacobian(case), compiler_options=FAST)(*case.args())
        try:
            result = jacobian(case, method=method)(*case.args())
        except ValueError:
            assert method == "sparse" and not case.both_allowed
            return
        assert_same(result, expected, f"jacobian outside of jit, {method}")


# -- Hessians, products with them, their traces ----------------------------------------------------------------------


def second_derivatives(case: Case, v: Any) -> tuple[dict[str, Callable[..., Any]], dict[str, bool]]:
    """Every way to something of second order; whether it is defined where forward or reverse mode is not."""
    fun = jax.jit(case)  # traced once for all of them
    alone = lambda *rest: lambda x: fun(x, *rest)
    forward, reverse = case.forward_allowed, case.reverse_allowed
    safe = case.both_allowed and case.symmetric  # a route that relies on symmetry refuses rules of one's own
    return {
        "hessian, auto": hessian(fun),
        "hessian, sparse": hessian(fun, method="sparse"),
        "hessian, forward-over-reverse": hessian(fun, method="forward-over-reverse"),
        "hessian, reverse-over-reverse": hessian(fun, method="reverse-over-reverse"),
        "hessian, reverse-over-forward": hessian(fun, method="reverse-over-forward"),
        "hessian, forward-over-forward": hessian(fun, method="forward-over-forward"),
        "hessian, bcoo": stored(hessian, fun),
        "hessian, chunks": hessian(fun, chunk_size=2),
        "product": lambda *args: hvp(fun)(args, v),
        "product, reverse-over-reverse": lambda *args: hvp(fun, method="reverse-over-reverse")(args, v),
        "product, reverse-over-forward": lambda *args: hvp(fun, method="reverse-over-forward")(args, v),
        "trace": trace(fun),
        "trace, sparse": trace(fun, method="sparse"),
        "trace, hessian": laplacian(fun, method="hessian"),
        "trace, nested": laplacian(fun, method="nested"),
        "trace, forward-laplacian": laplacian(fun, method="forward-laplacian"),
        "diagonal": diagonal(fun),
        "diagonal, sparse": diagonal(fun, method="sparse"),
        "one pass": lambda x, *rest: forward_laplacian(alone(*rest))(x),
        "one pass, dense": lambda x, *rest: forward_laplacian(alone(*rest), sparse=False)(x),
        "taylor": lambda x, *rest: taylor(alone(*rest), 3)(x, v),
    }, {
        "hessian, sparse": safe,
        "hessian, forward-over-reverse": case.both_allowed,
        "product": case.both_allowed,
        "hessian, reverse-over-reverse": reverse,
        "hessian, reverse-over-forward": case.both_allowed,
        "hessian, forward-over-forward": forward,
        "hessian, bcoo": safe,
        "product, reverse-over-reverse": reverse and case.symmetric,
        "product, reverse-over-forward": safe,
        "trace, sparse": safe,
        "trace, hessian": reverse,
        "trace, nested": forward,
        "trace, forward-laplacian": forward and case.symmetric,
        "diagonal, sparse": safe,
        "one pass": forward and case.symmetric,
        "one pass, dense": forward and case.symmetric,
        "taylor": forward and case.symmetric,
    }  # fmt: skip


SECOND = tuple(second_derivatives(Case(((1,),), "array", ()), None)[0])


@judged
def check_second(case: Case, names: Iterable[str] = SECOND) -> None:
    """The Hessian's pattern and the routes named, against the dense Hessian."""
    with jax.enable_x64(True):
        args, fun = case.args(), jax.jit(case)
        v = direction(args[0])
        calls, allowed = second_derivatives(case, v)
        calls = {name: calls[name] for name in names} | {"dense": dense_hessian(case)}
        if "taylor" in names and case.forward_allowed:
            calls["coefficients"] = lambda x, *rest: nested_coefficients(lambda x: fun(x, *rest), x, v)
        if any("one pass" in name for name in names):
            calls |= {"value": fun, "gradient": dense_jacobian(case)}
        # The pattern is that of the gradient's derivative, and a gradient wants reverse mode.
        pattern = hessian_pattern(in_x(fun, args), args[0]) if case.reverse_allowed else None
        for results in evaluate(calls, case, allowed):
            if pattern is not None:
                assert_covers(pattern, results["dense"], sizes(args[0]), case, args)
            _compare(results, as_matrix(results["dense"], sizes(args[0]), args), ravel(v), case.symmetric)


def _compare(results: dict[str, Any], matrix: np.ndarray, v: np.ndarray, symmetric: bool) -> None:
    """Each result of second order against the dense Hessian."""
    scale = np.max(np.abs(matrix), initial=0)

    def close(got, want, said):
        np.testing.assert_allclose(got, want, rtol=1e-7, atol=1e-10 + 1e-7 * scale, err_msg=said)

    if symmetric:
        close(matrix, matrix.T, "symmetry")
    for name, result in results.items():
        match name.split(",")[0]:
            case "hessian":
                assert_same(result, results["dense"], name, 1e-7)
            case "product":
                close(ravel(result), matrix @ v, name)
            case "trace":
                close(result, np.trace(matrix), name)
            case "diagonal":
                close(ravel(result), np.diag(matrix), name)
            case "one pass":
                close(result[0], results["value"], f"{name}: value")
                close(ravel(result[1]), ravel(results["gradient"]), f"{name}: gradient")
                close(result[2], np.trace(matrix), f"{name}: Laplacian")
            case "taylor" if "coefficients" in results:
                assert_same(result, results["coefficients"], name, 1e-7)


def nested_coefficients(fun: Callable[[Any], Any], x: Any, v: Any) -> Any:
    """The Taylor coefficients of ``t -> fun(x + t v)`` to third order by nested forward mode."""
    line = lambda t: fun(jax.tree.map(lambda a, b: a + t * b, x, v))
    coefficients, factor = [], 1.0
    for order in range(4):
        factor *= max(order, 1)
        coefficients.append(line(0.0) / factor)
        line = (lambda inner: lambda t: jax.jvp(inner, (t,), (1.0,))[1])(line)
    return jnp.stack(coefficients)


@ordinary(40)
@given(scalar_programs(most=3), some(SECOND, 1))
def test_everything_of_second_order_is_the_dense_hessian_s(case, names):
    check_second(case, names)


@exhaustive
@given(scalar_programs())
def test_everything_of_second_order_is_the_dense_hessian_s_over_many(case):
    check_second(case)

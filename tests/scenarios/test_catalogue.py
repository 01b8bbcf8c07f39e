"""The catalogue of cases: they trace, are finite, and have the derivative that a difference quotient has.

The oracles are a central difference in double precision along one random direction, and closed forms where they exist.
"""

import subprocess
import sys
from collections import defaultdict

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from jaxcalc import scenarios
from tests.tolerance import assert_close

CASES = scenarios.CASES
each = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def kinds():
    """All cases, those behind the marker whose program is that of one before them in another size."""
    seen = set()
    for case in CASES:
        program = (case.builder, case.operator, *(pair for pair in case.choices if isinstance(pair[1], str | bool)))
        yield pytest.param(case, marks=pytest.mark.exhaustive if program in seen else (), id=case.name)
        seen.add(program)


def flat(fun):
    """``fun`` with all of its outputs in one vector."""
    return lambda *arguments: ravel_pytree(fun(*arguments))[0]


def to_judge(case, fun):
    """What a difference quotient is taken of: the function, or the gradient where curvature is asked for."""
    if case.operator == "jacobian":
        return flat(fun)
    return flat(jax.jacfwd(fun) if "while" in case.tags else jax.grad(fun))


@pytest.mark.parametrize("case", list(kinds()))
def test_the_function_is_finite_and_its_derivative_is_that_of_a_central_difference(case, x64):
    own = case.build()
    double = own if case.dtype == "float64" else case.build("float64")
    point, unravel = ravel_pytree(double.x)
    direction = np.random.default_rng(1).standard_normal(point.size)
    rows = to_judge(case, double.fun)
    reverse = "custom vjp" in case.tags

    def program(own_arguments, z, v, constants):
        fun = lambda z: rows(unravel(z), *constants)
        if reverse:
            value, pull = jax.vjp(fun, z)
            slope = pull(jnp.zeros_like(value).at[value.size // 2].set(1.0))[0]
        else:
            value, slope = jax.jvp(fun, (z,), (v,))
        return own.fun(*own_arguments), value, slope

    run = jax.jit(program)
    at = lambda z: run(own.arguments, z, direction, double.constants)
    outputs, _, slope = at(point)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(outputs))
    slope = np.asarray(slope)
    assert np.isfinite(slope).all()
    assert np.abs(slope).max() > 0

    if "surrogate" not in case.tags:
        step = 1e-5  # the error is of order step^2 = 1e-10 by truncation and eps / step = 2e-11 by rounding
        ahead, behind = (np.asarray(at(point + sign * step * direction)[1]) for sign in (1, -1))
        difference = (ahead - behind) / (2 * step)
        if reverse:
            row = len(difference) // 2
            slope, difference = slope @ direction, difference[row]
        assert np.linalg.norm(slope - difference) <= 2e-6 * np.linalg.norm(difference) + 1e-8

    if double.derivative is None:
        return
    exact = np.asarray(double.derivative(*double.arguments))
    if case.operator == "laplacian":
        return  # judged behind the marker, the whole trace is wanted
    exact = exact.reshape(-1, point.size)
    if double.num_nonzeros is not None:
        assert np.count_nonzero(exact) == double.num_nonzeros
    if reverse:
        slope, exact = np.asarray(at(point)[2]), exact[exact.shape[0] // 2]
    else:
        exact = exact @ direction
    assert_close(slope, exact, 2**16, scale=np.abs(exact).max())


@pytest.mark.exhaustive
@each
def test_the_whole_derivative_has_its_closed_form_and_its_nonzeros(case, x64):
    made = case.build("float64")
    point, unravel = ravel_pytree(made.x)
    rows = to_judge(case, made.fun)
    fun = lambda z, *constants: rows(unravel(z), *constants)
    transform = jax.jacrev if "custom vjp" in case.tags or "wide" in case.tags else jax.jacfwd
    dense = np.asarray(jax.jit(transform(fun))(point, *made.constants)).reshape(-1, point.size)
    assert np.isfinite(dense).all()
    if made.derivative is not None:
        exact = np.asarray(made.derivative(*made.arguments))
        if case.operator == "laplacian":
            assert_close(np.trace(dense), exact, 2**25, scale=np.abs(dense).max())
        else:
            assert_close(dense, exact.reshape(dense.shape), 2**25, scale=np.abs(dense).max())
    if made.num_nonzeros is not None:
        assert np.count_nonzero(dense) == made.num_nonzeros


def test_the_catalogue_is_large_and_varied_and_its_halves_hold_every_family():
    assert len({case.name for case in CASES}) == len(CASES)
    count = {operator: len(scenarios.cases(operator)) for operator in ("jacobian", "hessian", "laplacian")}
    assert count["jacobian"] >= 44 and count["hessian"] >= 14 and count["laplacian"] >= 6
    members = defaultdict(lambda: defaultdict(set))
    for case in CASES:
        members[case.operator, case.family][case.split].add((case.builder, case.choices))
    for family, halves in members.items():
        assert set(halves) == {"tuned", "held out"}, family
        assert not halves["tuned"] & halves["held out"], family
    for operator in count:
        for split in ("tuned", "held out"):
            found = scenarios.cases(operator, split)
            assert {case.dtype for case in found} == {"float32", "float64"}
            assert {case.build("float32").num_inputs >= 200 for case in found} == {False, True}
    assert all(case.formula for case in CASES)


def test_a_case_is_found_by_its_name_and_cases_by_their_tags():
    assert scenarios.case("bundle adjustment").split == "held out"
    assert {case.name for case in scenarios.cases("hessian", "tuned", "arrowhead")} == {"arrowhead energy"}
    assert {"Burgers residual", "Gray-Scott"} <= {c.name for c in scenarios.cases(tags=("banded", "periodic"))}
    assert scenarios.cases() == CASES


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: scenarios.case("bundel adjustment"),
            "one of [0-9]+ names, such as 'bundle adjustment'.* got 'bundel adjustment'",
        ),
        (
            lambda: scenarios.cases("gradient"),
            "operator must be one of 'jacobian', 'hessian', 'laplacian', None, got 'gradient'",
        ),
        (lambda: scenarios.cases(split="test"), "split must be one of 'tuned', 'held out', None, got 'test'"),
        (lambda: scenarios.cases(tags="dence"), "a tag must be one of 'arrowhead'"),
    ],
)
def test_what_the_catalogue_does_not_have_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_double_precision_is_refused_where_jax_would_not_keep_it():
    with pytest.raises(RuntimeError, match=r"jax\.enable_x64"):
        scenarios.case("5-point stencil").build()


def test_a_case_may_be_built_in_another_size():
    case = scenarios.case("arrowhead")
    assert case.build().num_inputs == 1000
    assert case.build(size=7).num_inputs == 7


def test_a_scenario_is_the_same_at_every_build_and_its_constants_are_arguments():
    case = scenarios.case("dilated convolution of a signal")
    one, two = case.build(), case.build()
    np.testing.assert_array_equal(one.x, two.x)
    np.testing.assert_array_equal(one.unary(one.x), two.fun(*two.arguments))
    closed = jax.make_jaxpr(one.fun)(*one.arguments).consts
    assert sum(np.size(constant) for constant in closed) == 0
    assert "channels last" in case.formula
    assert scenarios.case("bundle adjustment").source.startswith("Agarwal")


@each
def test_a_case_is_what_its_row_says_and_its_program_holds_no_large_constants(case, x64):
    made = case.build()
    program = jax.make_jaxpr(made.fun)(*made.arguments)
    floats = [*jax.tree.leaves(made.x), *program.out_avals]
    assert {leaf.dtype.name for leaf in floats} == {case.dtype}
    assert (made.derivative is not None) == case.closed_form
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(made.arguments))
    num_outputs = sum(leaf.size for leaf in program.out_avals)
    assert case.operator == "jacobian" or [leaf.shape for leaf in program.out_avals] == [()]
    entries = made.num_inputs * (num_outputs if case.operator == "jacobian" else made.num_inputs)
    assert entries * np.dtype(case.dtype).itemsize <= 64e6
    assert sum(np.size(constant) for constant in program.consts) <= 256


def test_importing_the_catalogue_does_not_import_jax():
    program = "import sys\nfrom jaxcalc import scenarios\nassert scenarios.CASES\nassert 'jax' not in sys.modules\n"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)

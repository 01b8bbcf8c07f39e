"""Argument contracts: what holds passes, and one mistake is one exception in one wording, wherever it is made."""

import itertools
import math
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxcalc
from jaxcalc import checks
from jaxcalc.engines import check_gradient, dual, tape
from jaxcalc.engines import finite_differences as fd
from jaxcalc.functions.distributions import normal
from jaxcalc.functions.quadrature import quadrature_rule
from jaxcalc.programs.sparsity import hessian_pattern
from jaxcalc.solvers import (
    fixed_point,
    iterate,
    lbfgs,
    least_squares,
    levenberg_marquardt,
    minimize,
    newton,
    newton_cg,
    ordinary_least_squares,
    root,
    trust_region,
)
from jaxcalc.transforms import (
    diagonal,
    double_integral,
    expectation,
    flow,
    hessian,
    hvp,
    integral,
    iterated_integral,
    jacobian,
    laplacian,
    limit,
    monte_carlo,
    nth_derivative,
    plan,
    taylor,
    taylor_polynomial,
    trace,
    variance,
)

X = jnp.ones(2)
STANDARD_NORMAL = jax.scipy.stats.norm.logpdf
EVERYWHERE = {
    "jacobian": lambda fun: jacobian(fun),
    "hessian": lambda fun: hessian(fun),
    "hvp": lambda fun: hvp(fun),
    "laplacian": lambda fun: laplacian(fun),
    "plan": lambda fun: plan(jacobian, fun, X),
    "integral": lambda fun: integral(fun),
    "iterated_integral": lambda fun: iterated_integral(fun),
    "double_integral": lambda fun: double_integral(fun),
    "taylor": lambda fun: taylor(fun, 2),
    "nth_derivative": lambda fun: nth_derivative(fun, 2),
    "limit": lambda fun: limit(fun, 0.0),
    "monte_carlo": lambda fun: monte_carlo(fun, num_samples=4),
    "minimize": lambda fun: minimize(fun, X),
    "least_squares": lambda fun: least_squares(fun, X),
    "root": lambda fun: root(fun, X),
    "fixed_point": lambda fun: fixed_point(fun, X),
    "iterate": lambda fun: iterate(newton(), fun, X, num_steps=1),
    "derivative": lambda fun: fd.derivative(fun),
    "gradient": lambda fun: fd.gradient(fun),
    "check_gradient": lambda fun: check_gradient(fun, X, X),
}
SCALAR = {
    "hvp": lambda fun: hvp(fun)((X,), X),
    "laplacian": lambda fun: laplacian(fun)(X),
    "trace": lambda fun: trace(fun)(X),
    "diagonal": lambda fun: diagonal(fun)(X),
    "minimize": lambda fun: minimize(fun, X),
    "gradient": lambda fun: fd.gradient(fun)(X),
    "hessian": lambda fun: fd.hessian(fun)(X),
    "check_gradient": lambda fun: check_gradient(fun, X, X),
    "limit": lambda fun: limit(lambda h: fun(X + h), 0.0),
    "hessian_pattern": lambda fun: hessian_pattern(fun, X),
}
OPTIONS = {
    ("jacobian", "method"): lambda m: jacobian(jnp.sin, method=m),
    ("hessian", "method"): lambda m: hessian(jnp.sum, method=m),
    ("hessian", "output_format"): lambda m: hessian(jnp.sum, output_format=m),
    ("hvp", "method"): lambda m: hvp(jnp.sum, method=m),
    ("laplacian", "method"): lambda m: laplacian(jnp.sum, method=m),
    ("plan", "effort"): lambda m: plan(jacobian, jnp.sin, X, effort=m),
    ("minimize", "method"): lambda m: minimize(jnp.sum, X, method=m),
    ("minimize", "history"): lambda m: minimize(jnp.sum, X, history=m),
    ("least_squares", "method"): lambda m: least_squares(jnp.sin, X, method=m),
    ("root", "method"): lambda m: root(jnp.sin, X, method=m),
    ("fixed_point", "method"): lambda m: fixed_point(jnp.sin, X, method=m),
    ("newton", "line_search"): lambda m: newton(line_search=m),
    ("ordinary_least_squares", "method"): lambda m: ordinary_least_squares(jnp.eye(2), X, method=m),
    ("integral", "method"): lambda m: integral(jnp.sin, method=m),
    ("iterated_integral", "method"): lambda m: iterated_integral(jnp.add, method=m),
    ("double_integral", "method"): lambda m: double_integral(jnp.add, method=m),
    ("variance", "method"): lambda m: variance(jnp.sin, STANDARD_NORMAL, method=m),
    ("expectation", "method"): lambda m: expectation(jnp.sin, STANDARD_NORMAL, method=m),
    ("flow", "solver"): lambda m: flow(lambda t, y, a: y, solver=m),
    ("flow", "adjoint"): lambda m: flow(lambda t, y, a: y, adjoint=m),
    ("limit", "side"): lambda m: limit(jnp.sin, 0.0, side=m),
    ("quadrature_rule", "name"): lambda m: quadrature_rule(m, 3),
    ("derivative", "scheme"): lambda m: fd.derivative(jnp.sin, scheme=m),
    ("jacobian", "scheme"): lambda m: fd.jacobian(jnp.sin, scheme=m),
    ("check_gradient", "scheme"): lambda m: check_gradient(jnp.sum, X, X, scheme=m),
}
COUNTS = {
    ("jacobian", "chunk_size"): lambda k: jacobian(jnp.sin, chunk_size=k),
    ("laplacian", "num_samples"): lambda k: laplacian(
        jnp.sum, method="stochastic", key=jax.random.key(0), num_samples=k
    ),
    ("integral", "num_points"): lambda k: integral(jnp.sin, num_points=k),
    ("monte_carlo", "num_samples"): lambda k: monte_carlo(jnp.sin, num_samples=k),
    ("expectation", "num_samples"): lambda k: expectation(jnp.sin, normal, num_samples=k),
    ("expectation", "chunk_size"): lambda k: expectation(jnp.sin, normal, num_samples=2, chunk_size=k),
    ("flow", "num_steps"): lambda k: flow(lambda t, y, a: y, num_steps=k),
    ("lbfgs", "memory_size"): lambda k: lbfgs(k),
    ("newton_cg", "max_products"): lambda k: newton_cg(max_products=k),
    ("taylor", "order"): lambda k: taylor(jnp.sin, k - 1 if k == 0 else k),
    ("taylor_polynomial", "order"): lambda k: taylor_polynomial(jnp.sin, k - 1 if k == 0 else k),
    ("minimize", "max_steps"): lambda k: minimize(jnp.sum, X, max_steps=k - 1 if k == 0 else k),
    ("gradient", "chunk_size"): lambda k: fd.gradient(jnp.sum, chunk_size=k),
    ("check_gradient", "chunk_size"): lambda k: check_gradient(jnp.sum, X, X, chunk_size=k),
}


@pytest.mark.parametrize("who", EVERYWHERE)
@pytest.mark.parametrize("fun", [3, None, X], ids=["number", "None", "array"])
def test_what_is_no_function_is_a_type_error_everywhere(who, fun):
    with pytest.raises(TypeError) as raised:
        EVERYWHERE[who](fun)
    assert str(raised.value) == f"{who}: fun must be a function, got {fun!r}. Its arguments come apart from it."


@pytest.mark.parametrize("who", SCALAR)
def test_a_fun_that_returns_no_scalar_is_a_type_error_everywhere(who):
    with pytest.raises(TypeError, match=rf"^{who}: fun must return a scalar, got shape \(2,\)\."):
        SCALAR[who](jnp.sin)
    with pytest.raises(TypeError, match=rf"^{who}: fun must return a scalar, got shapes \(2,\), \(\)\."):
        SCALAR[who](lambda x: {"a": x, "b": x[0]})


@pytest.mark.parametrize("who", SCALAR)
def test_a_fun_that_returns_complex_numbers_is_a_type_error_everywhere(who):
    with pytest.raises(TypeError, match=rf"^{who}: fun must return real floating-point numbers, got complex"):
        SCALAR[who](lambda x: jnp.sum(x) * 1j)


@pytest.mark.parametrize("engine", [dual, tape])
def test_the_engines_gradients_refuse_a_vector_alike(engine):
    with pytest.raises(TypeError, match=r"gradient: fun must return a scalar, got shape \(2,\)\."):
        engine.gradient(engine.sin)(X)


def test_functions_that_return_too_little_are_type_errors():
    with pytest.raises(TypeError, match=r"^integral: fun must return at least one number"):
        integral(lambda x: jnp.zeros(0))(0.0, 1.0)
    with pytest.raises(TypeError, match=r"^fixed_point: what fun returns must be shaped like x0, \(2,\), got \(\)\."):
        fixed_point(jnp.sum, X)
    with pytest.raises(TypeError, match=r"^integral: a limit must be a real number, got 1j\."):
        integral(jnp.sin)(0.0, 1j)


@pytest.mark.parametrize(("who", "name"), OPTIONS)
def test_an_unknown_option_is_a_value_error_that_names_all_and_another_kind_a_type_error(who, name):
    call = OPTIONS[who, name]
    with pytest.raises(ValueError, match=rf"^{who}: {name} must be one of ('.*', )+.*, got 'nothing-like-it'\.$"):
        call("nothing-like-it")
    with pytest.raises(TypeError, match=rf"^{who}: {name} must be one of .*, got 3\.$"):
        call(3)


def test_the_option_that_was_meant_is_suggested():
    with pytest.raises(ValueError, match=r"got 'foward'\. Did you mean 'forward'\?$"):
        jacobian(jnp.sin, method="foward")
    with pytest.raises(ValueError, match=r"got 'L-BFGS'\. Did you mean 'l-bfgs'\?$"):
        minimize(jnp.sum, X, method="L-BFGS")


@pytest.mark.parametrize(("who", "name"), COUNTS)
def test_a_count_below_its_least_is_a_value_error_and_no_count_a_type_error(who, name):
    with pytest.raises(ValueError, match=rf"^{who}: {name} must be at least \d+( and at most \d+)?, got (0|-1)\."):
        COUNTS[who, name](0)
    for wrong in (2.5, "7", True):
        with pytest.raises(TypeError, match=rf"^{who}: {name} must be a whole number, got {wrong!r}\."):
            COUNTS[who, name](wrong)


@pytest.mark.parametrize(
    ("who", "name", "call"),
    [
        ("trust_region", "radius", lambda r: trust_region(r)),
        ("newton_cg", "radius", lambda r: newton_cg(r)),
        ("levenberg_marquardt", "radius", lambda r: levenberg_marquardt(r)),
    ],
)
def test_a_number_out_of_range_is_a_value_error_and_no_number_a_type_error(who, name, call):
    for wrong in (0.0, -1, math.nan):
        with pytest.raises(ValueError, match=rf"^{who}: {name} must be above 0, got "):
            call(wrong)
    for wrong in ("1", 1j, True):
        with pytest.raises(TypeError, match=rf"^{who}: {name} must be a real number, got "):
            call(wrong)
    call(2)
    jax.jit(lambda r: call(r).numbers["radius"])(-1.0)  # a traced number's value is not known


def test_each_solve_speaks_in_its_own_name():
    keyed = {"tol": -1.0}, {"max_steps": -1}, {"history": "all"}, {"method": "sqp"}
    for call, keywords in itertools.product((minimize, least_squares, root, fixed_point), keyed):
        fun = jnp.sum if call is minimize else jnp.sin
        with pytest.raises(ValueError, match=f"^{call.__name__}: {next(iter(keywords))} must be "):
            call(fun, X, **keywords)
    for call in (least_squares, root, fixed_point):
        with pytest.raises(ValueError, match=f"^{call.__name__}: a history of 1000000001 steps"):
            call(jnp.sin, X, history="full", max_steps=1_000_000_000)
        with pytest.raises(TypeError, match=f"^{call.__name__}: x0 must be of real floating-point numbers, got int"):
            call(lambda x: x, jnp.arange(2))
    with pytest.raises(ValueError, match="minimize: method 'levenberg-marquardt' needs residuals"):
        minimize(jnp.sum, X, method=levenberg_marquardt())


# -- the contracts by themselves -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "options"),
    [
        ("b", ("a", "b")),
        (None, ("a", None)),
        (2, (1, 2)),
        (np.int64(2), (1, 2)),
        (np.str_("a"), ("a",)),
        ("a", {"a": 0}),
    ],
)
def test_an_option_passes(value, options):
    assert checks.one_of("f", "x", value, options) is value


@pytest.mark.parametrize("value", [True, 1.0, None, b"1", jnp.ones(1), [1]])
def test_an_option_of_another_kind_is_a_type_error(value):
    with pytest.raises(TypeError, match="must be one of 1, 2, got"):
        checks.one_of("f", "x", value, (1, 2))


def test_of_a_long_catalogue_the_nearest_are_named():
    names = [f"case {i}" for i in range(1000)]
    with pytest.raises(ValueError, match=r"one of 1000 names, such as 'case \d+', .*got 'cas 7'\. Did you mean"):
        checks.one_of("f", "name", "cas 7", names)
    with pytest.raises(ValueError, match=r"one of 1000 names, got 'zzz'\.$"):
        checks.one_of("f", "name", "zzz", names)


def test_whole_numbers_pass_as_pythons_own():
    for value in (3, np.int8(3), np.asarray(3), jnp.asarray(3)):
        whole = checks.integer("f", "k", value)
        assert whole == 3 and type(whole) is int
    assert checks.integer("f", "k", -3, least=None) == -3
    with pytest.raises(ValueError, match=r"k must be at least 1 and at most 5, got 6\. Why\."):
        checks.integer("f", "k", 6, most=5, remedy="Why.")
    with pytest.raises(TypeError, match="a whole number"):
        jax.jit(lambda k: checks.integer("f", "k", k))(3)


def test_real_numbers_pass_as_they_are():
    for value in (1, 0.5, np.float32(2), jnp.asarray(3.0), jnp.asarray([1, 2], jnp.bfloat16), math.inf):
        assert checks.number("f", "x", value, least=0.5) is value
    with pytest.raises(ValueError, match=r"x must be above 0 and at most 1, got 2\.0\."):
        checks.number("f", "x", np.array([1.0, 2.0]), above=0, most=1)
    with pytest.raises(ValueError, match="x must be a real number, got nan"):
        checks.number("f", "x", math.nan)
    for wrong in (1j, None, [1.0], np.array(["a"]), False):
        with pytest.raises(TypeError, match="x must be a real number"):
            checks.number("f", "x", wrong)
    assert checks.num_bytes("f", "budget", 64e6) == 64_000_000 and checks.num_bytes("f", "budget", None) is None
    for wrong in (0, math.inf):
        with pytest.raises(ValueError, match=r"budget must be at least 1 and at most .* It counts bytes"):
            checks.num_bytes("f", "budget", wrong)


def test_not_nan_scalar_not_empty_floating_and_function():
    assert checks.not_nan("f", "x", -math.inf) == -math.inf
    with pytest.raises(ValueError, match=r"x must be a number or infinite, got NaN\. Leave it out\."):
        checks.not_nan("f", "x", np.array([1.0, np.nan]), "Leave it out.")
    assert checks.scalar("f", "x", 1.0) == 1.0
    with pytest.raises(ValueError, match=r"x must be a scalar, got shape \(1,\)\. Use jax\.vmap"):
        checks.scalar("f", "x", jnp.ones(1))
    assert checks.not_empty("f", "x", {"a": 1.0}) == {"a": 1.0}
    with pytest.raises(ValueError, match=r"at least one array, got \{\}"):
        checks.not_empty("f", "x", {})
    for dtype in (jnp.bfloat16, jnp.float16, jnp.float32):
        assert checks.floating("f", "x", jnp.ones(2, dtype), "").dtype == dtype
    assert checks.floating("f", "x", 1j, "", real=False) == 1j
    with pytest.raises(TypeError, match=r"x must be of real floating-point numbers, got int32\[2\]\. Convert it\."):
        checks.floating("f", "x", np.ones(2, np.int32), "Convert it.")
    assert checks.function("f", math.sin) is math.sin


@pytest.mark.parametrize("model", [1.0, X, {"a": X, "b": (1.0, None)}, (), jax.ShapeDtypeStruct((2,), "float32")])
def test_like_passes_by_structure_and_shape_alone(model):
    other = jax.tree.map(lambda leaf: np.zeros(np.shape(leaf), int), model)
    assert checks.like("f", "v", other, "x", model) is other
    with pytest.raises(ValueError, match="v must be shaped like x"):
        checks.like("f", "v", [other], "x", model)


def test_the_room_imports_no_other():
    names = {value.__name__ for value in vars(checks).values() if isinstance(value, types.ModuleType)}
    assert names <= {"difflib", "operator", "numpy"}
    assert all(hasattr(checks, name) for name in checks.__all__)
    assert jaxcalc.minimize is minimize

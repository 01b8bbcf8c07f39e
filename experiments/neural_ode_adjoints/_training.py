"""Training steps of neural ODEs: three problems, and a step of each by ours and by other libraries."""

import functools
import math
from collections.abc import Callable, Collection
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from jaxcalc import measure
from jaxcalc.lab import jax, jnp

__all__ = [
    "Problem",
    "ProblemName",
    "Step",
    "build",
    "by_diffrax",
    "by_jaxcalc",
    "by_odeint",
    "evaluations",
    "in_jax",
    "jax_step",
    "torch_step",
]

ProblemName = Literal["spiral", "perceptron", "Lotka-Volterra"]
NAMES = get_args(ProblemName)
RATE = 1e-3  # of Adam


class Problem(NamedTuple):
    """What is trained: of a field, ``loss(states at times[1:] - targets)``.

    Args:
      field: ``field(xp, y, params)``, for the arrays of ``xp``: ``jax.numpy`` or ``torch``.
      loss: of the residuals, by methods that arrays of both have.
      params: what is learned, a tuple of arrays.
      start: one state, of all trajectories together: their steps are the same.
      times, targets: when states are seen after the first of them, and what they are to be.
    """

    field: Callable[..., Any]
    loss: Callable[[Any], Any]
    params: tuple[Any, ...]
    start: Any
    times: Any
    targets: Any


def _network(xp, y, params):
    w, b, v, c = params
    return xp.tanh(y @ w + b) @ v + c


def _cubic_network(xp, y, params):
    return _network(xp, y**3, params)


def _prey(xp, y, params):
    a, b, c, d = params[0]
    return xp.stack([y[0] * (a - b * y[1]), y[1] * (d * y[0] - c)])


def _absolute(residuals):
    return abs(residuals).mean()


def _square(residuals):
    return (residuals**2).mean()


def build(name: str, key: Any) -> Problem:
    """The problem of that name, what is random in it drawn from a key.

    Source: the spiral is that of R. T. Q. Chen et al., Neural Ordinary Differential Equations, NeurIPS 2018, as in
    torchdiffeq's ``ode_demo``.
    """
    keys = jax.random.split(key, 4)
    normal = lambda key, shape, scale: scale * jax.random.normal(key, shape, float)
    match name:
        case "spiral":
            from jaxcalc.functions.fields import cubic_spiral

            solve = by_jaxcalc(cubic_spiral, 1e-6, solver="dopri5")
            line = jnp.linspace(0.0, 25.0, 1000)
            truth = jax.jit(solve)(jnp.array([2.0, 0.0]), line, jnp.array([[-0.1, -2.0], [2.0, -0.1]]))
            first = jax.random.choice(keys[0], 989, (20,), replace=False)
            params = normal(keys[1], (2, 50), 0.1), jnp.zeros(50), normal(keys[2], (50, 2), 0.1), jnp.zeros(2)
            targets = truth[first + 1 + jnp.arange(9)[:, None]]
            return Problem(_cubic_network, _absolute, params, truth[first], line[:10], targets)
        case "perceptron":
            params = normal(keys[0], (4, 32), 0.5), jnp.zeros(32), normal(keys[1], (32, 4), 32**-0.5), jnp.zeros(4)
            start, targets = normal(keys[2], (256, 4), 1.0), normal(keys[3], (1, 256, 4), 1.0)
            return Problem(_network, _square, params, start, jnp.array([0.0, 1.0]), targets)
        case "Lotka-Volterra":
            times, start, rates = jnp.linspace(0.0, 10.0, 21), jnp.ones(2), jnp.array([1.5, 1.0, 3.0, 1.0])
            solve = by_jaxcalc(lambda t, y, rates: _prey(jnp, y, (rates,)), 1e-6, solver="dopri5")
            guess = rates * jnp.array([1.1, 0.9, 1.05, 0.95])
            return Problem(_prey, _square, (guess,), start, times, jax.jit(solve)(start, times, rates))
    raise ValueError(f"unknown problem {name!r}; it is one of {', '.join(NAMES)}")


def by_jaxcalc(field: Any, tolerance: float, **choices: Any) -> Callable[..., Any]:
    """``solve(start, times, args)`` to the states after the first, by ``flow``."""
    from jaxcalc import flow

    solve = flow(field, rtol=tolerance, atol=tolerance, **choices)
    return lambda start, times, args: solve(start, times, args)[1:]


def by_diffrax(field: Any, tolerance: float, solver: str = "Tsit5", **choices: Any) -> Callable[..., Any]:
    """The same by diffrax, as its manual has it."""
    import diffrax

    def solve(start, times, args):
        ends = diffrax.SaveAt(t1=True) if len(times) == 2 else diffrax.SaveAt(ts=times[1:])
        return diffrax.diffeqsolve(
            diffrax.ODETerm(field), getattr(diffrax, solver)(), times[0], times[-1], None, start, args, saveat=ends,
            stepsize_controller=diffrax.PIDController(tolerance, tolerance), **choices,
        ).ys  # fmt: skip

    return solve


def by_odeint(field: Any, tolerance: float) -> Callable[..., Any]:
    """The same by JAX's own, whose adjoint is the continuous one."""
    from jax.experimental.ode import odeint

    turned = lambda y, t, args: field(t, y, args)
    return lambda start, times, args: odeint(turned, start, times, args, rtol=tolerance, atol=tolerance)[1:]


def in_jax(problem: Problem) -> Callable[..., Any]:
    """The field as JAX's libraries take it."""
    return lambda t, y, params: problem.field(jnp, y, params)


class Step(NamedTuple):
    """A training step: ``call()`` to loss and gradient first, the same at every call; NaN where nothing is compiled."""

    call: Callable[[], Any]
    trace_seconds: float = math.nan
    compile_seconds: float = math.nan


def jax_step(problem: Problem, solve: Callable[..., Any], ahead: bool = False) -> Step:
    """A step of a solve that JAX differentiates and compiles, to loss, gradient, new parameters and Adam's moments.

    Args:
      ahead: whether in forward mode.
    """
    import optax

    from jaxcalc.programs.compiled import executable

    optimizer = optax.adam(RATE)

    def loss(params, start, targets):
        return problem.loss(solve(start, problem.times, params) - targets)

    def pushed(*operands):
        gradient, value = jax.jacfwd(lambda *operands: (loss(*operands),) * 2, has_aux=True)(*operands)
        return value, gradient

    derivative = pushed if ahead else jax.value_and_grad(loss)

    def step(params, moments, start, targets):
        value, gradient = derivative(params, start, targets)
        updates, moments = optimizer.update(gradient, moments, params)
        return value, gradient, optax.apply_updates(params, updates), moments

    operands = problem.params, optimizer.init(problem.params), problem.start, problem.targets
    program = executable(step, *operands)
    return Step(lambda: program(*operands), program.trace_seconds, program.compile_seconds)


def torch_step(problem: Problem, tolerance: float, adjoint: bool, threads: int | None = None) -> Step:
    """A step by torchdiffeq, as its users run it: not compiled.

    The parameters are put back after it, so that all steps are the same.

    Args:
      adjoint: whether by the continuous adjoint.
      threads: that torch may use; by default what it chooses.
    """
    import torch  # pyright: ignore[reportMissingImports]

    own = torch.get_num_threads()
    field, start, times, targets, solve = _in_torch(problem, tolerance, adjoint)
    params = list(field.parameters())
    begin = [array.detach().clone() for array in params]
    optimizer = torch.optim.Adam(params, RATE)

    def step():
        optimizer.zero_grad()
        loss = problem.loss(solve(field, start, times)[1:] - targets)
        loss.backward()
        optimizer.step()
        return loss.detach(), [array.grad for array in params]

    def call():
        torch.set_num_threads(threads or own)
        try:
            return step()
        finally:
            torch.set_num_threads(own)
            with torch.no_grad():
                for array, first in zip(params, begin):
                    array.copy_(first)

    return Step(call)


def _in_torch(problem: Problem, tolerance: float, adjoint: bool) -> Any:
    """Field, start, times, targets and solve."""
    import torch  # pyright: ignore[reportMissingImports]
    import torchdiffeq  # pyright: ignore[reportMissingImports]

    tensor = lambda array: torch.tensor(np.asarray(array))
    integrate = torchdiffeq.odeint_adjoint if adjoint else torchdiffeq.odeint

    class Field(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.learned = torch.nn.ParameterList([torch.nn.Parameter(tensor(array)) for array in problem.params])

        def forward(self, t, y):
            return problem.field(torch, y, self.learned)

    solve = functools.partial(integrate, rtol=tolerance, atol=tolerance, method="dopri5")
    return Field(), *map(tensor, (problem.start, problem.times, problem.targets)), solve


def evaluations(problem: Problem, tolerance: float, libraries: Collection[str]) -> dict[str, int]:
    """How often each library evaluates the field on the way forward."""
    solves = {"jaxcalc": by_jaxcalc, "diffrax": by_diffrax, "jax odeint": by_odeint}
    found = {}
    for library in solves.keys() & libraries:
        field, calls = measure.count_calls(in_jax(problem))
        solve = jax.jit(solves[library](field, tolerance))
        jax.block_until_ready(solve(problem.start, problem.times, problem.params))
        found[library] = calls[0]
    if "torchdiffeq" in libraries:
        import torch  # pyright: ignore[reportMissingImports]

        field, start, times, _, solve = _in_torch(problem, tolerance, False)
        calls = []
        field.register_forward_hook(lambda *_: calls.append(1))
        with torch.no_grad():
            solve(field, start, times)
        found["torchdiffeq"] = len(calls)
    return found

"""CUTEst problems as sif2jax ships them, and every solver run on one, in a process that is ended when one takes too
long.

``python -m experiments._cutest PROBLEM SECONDS SOLVER...`` writes one line of JSON a solver.
"""

import contextlib
import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from queue import Empty, Queue
from typing import Any

import numpy as np

from jaxcalc.lab import jax, jnp

OURS = ("jaxcalc auto", "jaxcalc trust-region", "jaxcalc newton-cg", "jaxcalc l-bfgs", "jaxcalc bfgs")
PEERS = (
    "SciPy L-BFGS-B",
    "SciPy trust-ncg",
    "SciPy trust-exact",
    "optimistix BFGS",
    "optimistix LBFGS",
    "optax L-BFGS",
    "jaxopt L-BFGS",
)
BOXED = ("jaxcalc auto", "jaxcalc trust-region", "jaxcalc newton-cg", "jaxcalc l-bfgs", "SciPy L-BFGS-B")
"""Those that keep to bounds."""
DENSE = 1000
"""Solvers with a dense Hessian, or its inverse, are left out beyond."""
NEEDS_DENSE = ("jaxcalc trust-region", "jaxcalc bfgs", "SciPy trust-exact", "optimistix BFGS")
TOLERANCE = 1e-6
"""What "stationary" is judged by, relative to max(1, |f|)."""
ASKED = 1e-8
"""What peers are asked for, so that none fails for a loose setting of its own."""
MAX_STEPS = 50_000


def load(name: str) -> Any:
    """A CUTEst problem, from its own module: importing all of sif2jax takes a minute.

    Raises:
      ValueError: for a name that sif2jax has not.
    """
    import importlib
    from importlib.util import find_spec
    from pathlib import Path
    from types import ModuleType

    spec = find_spec("sif2jax")
    assert spec is not None and spec.submodule_search_locations
    root = Path(spec.submodule_search_locations[0])
    modules = sorted(root.glob("cutest/*/*.py"))
    # Mostly a module bears its problem's name; else the class is looked for in all of them.
    found = [path for path in modules if path.stem == name.lower()] or [
        path for path in modules if re.search(rf"^class {re.escape(name)}\(", path.read_text(encoding="utf-8"), re.M)
    ]
    if not found:
        raise ValueError(f"sif2jax has no problem {name!r}.")
    packages = ["sif2jax", "sif2jax.cutest", f"sif2jax.cutest.{found[0].parent.name}"]
    bare = [package for package in packages if package not in sys.modules]
    for package in bare:
        sys.modules[package] = module = ModuleType(package)
        module.__path__ = [str(root.joinpath(*package.split(".")[1:]))]
    try:
        return getattr(importlib.import_module(f"{packages[-1]}.{found[0].stem}"), name)()
    finally:
        for package in bare:
            del sys.modules[package]


@dataclass(frozen=True)
class Case:
    """A problem of vectors.

    Args:
      fun: ``x (n,) -> scalar``.
      start: (n,), within the bounds.
      lower, upper: (n,), or None.
    """

    fun: Callable[[Any], Any]
    start: np.ndarray
    lower: np.ndarray | None
    upper: np.ndarray | None


def case(name: str) -> Case:
    """A problem of sif2jax as one of vectors."""
    from jax.flatten_util import ravel_pytree

    problem = load(name)
    start, unravel = ravel_pytree(problem.y0)
    fun = lambda x: jnp.reshape(problem.objective(unravel(x), problem.args), ())
    bounds = getattr(problem, "bounds", None)
    if bounds is None:
        return Case(fun, np.asarray(start, float), None, None)
    lower, upper = (np.asarray(ravel_pytree(side)[0], float) for side in bounds)
    return Case(fun, np.clip(np.asarray(start, float), lower, upper), lower, upper)


@dataclass
class Outcome:
    """What a solver says, before it is judged.

    Args:
      x: (n,).
      claimed: whether it calls this a success.
      unbounded: whether it calls the problem unbounded.
      evaluations: values, gradients and Hessian-vector products; a dense Hessian counts as n products.
      words: its status.
    """

    x: Any
    claimed: bool
    unbounded: bool
    evaluations: float
    words: str


Run = Callable[..., Any]


def prepared(solver: str, case: Case) -> tuple[Run, Callable[[Any], Outcome]]:
    """A solver's run ``x -> result``, compiled where it compiles, and what reads its result."""
    family, _, method = solver.partition(" ")
    match family:
        case "jaxcalc":
            return _ours(method, case)
        case "SciPy":
            return _scipy(method, case)
        case "optimistix":
            return _optimistix(method, case)
        case "optax":
            return _optax(case)
        case "jaxopt":
            return _jaxopt(case)
    raise ValueError(f"cutest: unknown solver {solver!r}; it is one of: {', '.join((*OURS, *PEERS))}.")


def _ours(method: str, case: Case) -> tuple[Run, Callable[[Any], Outcome]]:
    from jaxcalc.solvers import Status, minimize

    bounds = None if case.lower is None else (case.lower, case.upper)

    @jax.jit
    def run(x: Any) -> Any:
        found = minimize(case.fun, x, method=method, bounds=bounds, max_steps=MAX_STEPS)
        counts = found.evaluations
        return found.x, found.status, counts.functions + counts.gradients + counts.hvps, counts.hessians

    def read(found: Any) -> Outcome:
        x, status, products, hessians = found
        status = Status(int(status))
        spent = float(products) + case.start.size * float(hessians)
        return Outcome(x, status == Status.CONVERGED, status == Status.UNBOUNDED, spent, status.name.lower())

    return run, read


def _scipy(method: str, case: Case) -> tuple[Run, Callable[[Any], Outcome]]:
    import scipy.optimize

    both = jax.jit(jax.value_and_grad(case.fun))
    options: dict[str, Any] = {"maxiter": MAX_STEPS, "gtol": ASKED}
    further: dict[str, Any] = {}
    if method == "L-BFGS-B":
        options |= {"maxfun": 10 * MAX_STEPS, "maxls": 50, "ftol": 1e-15}
        if case.lower is not None and case.upper is not None:
            further["bounds"] = list(zip(case.lower, case.upper))
    elif method == "trust-ncg":
        further["hessp"] = jax.jit(lambda x, v: jax.jvp(jax.grad(case.fun), (x,), (v,))[1])
    else:
        further["hess"] = jax.jit(jax.hessian(case.fun))

    def run(x: Any, warm: bool = False) -> Any:
        if warm:  # what is compiled is compiled by a first call
            calls = [both(x), *(further[name](x, x) if name == "hessp" else None for name in further)]
            return jax.block_until_ready([*calls, further["hess"](x) if "hess" in further else None])
        products = [0]
        given = dict(further)
        if "hessp" in given:

            def product(x: Any, v: Any) -> Any:
                products[0] += 1
                return np.asarray(further["hessp"](x, v))

            given["hessp"] = product
        elif "hess" in given:
            given["hess"] = lambda x: np.asarray(further["hess"](x))

        def pair(x: Any) -> tuple[float, np.ndarray]:
            value, gradient = both(x)
            return float(value), np.asarray(gradient)

        found = scipy.optimize.minimize(pair, np.asarray(x), jac=True, method=method, options=options, **given)
        found["products"] = products[0] + case.start.size * found.get("nhev", 0) * ("hess" in given)
        return found

    def read(found: Any) -> Outcome:
        spent = found.nfev + found.get("njev", found.nfev) + found["products"]
        return Outcome(found.x, bool(found.success), False, float(spent), str(found.message))

    return run, read


def _optimistix(method: str, case: Case) -> tuple[Run, Callable[[Any], Outcome]]:
    import optimistix

    solver = getattr(optimistix, method)(rtol=ASKED, atol=ASKED, norm=optimistix.max_norm)
    fun = lambda x, args: case.fun(x)

    @jax.jit
    def run(x: Any) -> Any:
        found = optimistix.minimise(fun, solver, x, max_steps=MAX_STEPS, throw=False)
        return found.value, found.result == optimistix.RESULTS.successful, found.stats["num_steps"]

    def read(found: Any) -> Outcome:
        x, done, steps = found
        # It tells its steps alone; each takes a value and, roughly, a gradient.
        return Outcome(x, bool(done), False, 2.0 * float(steps), f"{int(steps)} steps")

    return run, read


def _optax(case: Case) -> tuple[Run, Callable[[Any], Outcome]]:
    import optax

    method = optax.lbfgs()
    both = optax.value_and_grad_from_state(case.fun)

    def run(x: Any) -> Any:
        def step(carry: Any) -> Any:
            x, state, count, spent, _, _ = carry
            value, gradient = both(x, state=state)
            update, state = method.update(gradient, state, x, value=value, grad=gradient, value_fn=case.fun)
            trials = optax.tree.get(state, "num_linesearch_steps")
            size = optax.tree.norm(gradient, ord="inf") / jnp.maximum(1.0, jnp.abs(value))
            going = (size > ASKED) & jnp.isfinite(size) & (optax.global_norm(update) > 0)
            return jnp.where(size > ASKED, x + update, x), state, count + 1, spent + 2 * trials, size, going

        unfinished = lambda carry: carry[5] & (carry[2] < MAX_STEPS)
        begun = (x, method.init(x), 0, jnp.asarray(2), jnp.asarray(jnp.inf), jnp.asarray(True))
        return jax.lax.while_loop(unfinished, step, begun)

    def read(found: Any) -> Outcome:
        return Outcome(found[0], bool(found[4] <= ASKED), False, float(found[3]), f"{int(found[2])} steps")

    return jax.jit(run), read


def _jaxopt(case: Case) -> tuple[Run, Callable[[Any], Outcome]]:
    import jaxopt  # pyright: ignore[reportMissingImports]

    solver = jaxopt.LBFGS(case.fun, tol=ASKED, maxiter=MAX_STEPS)
    run = jax.jit(lambda x: solver.run(x))

    def read(found: Any) -> Outcome:
        state = found.state
        spent = float(state.num_fun_eval + state.num_grad_eval)
        return Outcome(found.params, bool(state.error <= ASKED), False, spent, f"{int(state.iter_num)} steps")

    return run, read


def measured(case: Case, solver: str) -> dict[str, Any]:
    """One solver on one problem: compiled, run, judged from outside, run again where that is cheap."""
    run, read = prepared(solver, case)
    start = jnp.asarray(case.start)
    began = time.perf_counter()
    if isinstance(run, jax.stages.Wrapped):
        run = run.lower(start).compile()
    else:
        run(start, warm=True)
    compiled = time.perf_counter()
    print(json.dumps({"running": solver}), flush=True)
    result = jax.block_until_ready(run(start))
    seconds = time.perf_counter() - compiled
    if seconds < 1.0:
        for _ in range(2):
            again = time.perf_counter()
            jax.block_until_ready(run(start))
            seconds = min(seconds, time.perf_counter() - again)
    outcome = read(result)
    x = np.asarray(outcome.x, float)
    value, gradient = jax.jit(jax.value_and_grad(case.fun))(x)
    gradient = np.asarray(gradient)
    moved = gradient if case.lower is None else x - np.clip(x - gradient, case.lower, case.upper)
    inside = case.lower is None or bool(np.all((x >= case.lower) & (x <= case.upper)))
    return {
        "solver": solver,
        "value": float(value) if inside else np.nan,
        "stationarity": float(np.max(np.abs(moved))),
        "claimed": outcome.claimed,
        "unbounded": outcome.unbounded,
        "evaluations": outcome.evaluations,
        "seconds": seconds,
        "compile_seconds": compiled - began,
        "words": outcome.words,
    }


def suited(solver: str, size: int, boxed: bool) -> bool:
    """Whether a solver is for problems of that kind."""
    return (not boxed or solver in BOXED) and (size <= DENSE or solver not in NEEDS_DENSE)


def supervise(problem: str, solvers: tuple[str, ...], limit: float, compile_limit: float) -> Iterator[dict[str, Any]]:
    """Every solver's record; the process is started anew after a solver that took too long.

    Args:
      limit: seconds of a run.
      compile_limit: seconds of everything before it.
    """
    left = list(solvers)
    while left:
        command = [sys.executable, "-m", "experiments._cutest", problem, *left]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        lines: Queue[str | None] = Queue()
        threading.Thread(target=_forward, args=(process.stdout, lines), daemon=True).start()
        allowed, phase = compile_limit, "compiling"
        try:
            while left:
                record = _next(lines, allowed)
                if record is None:  # ended by itself, or too long
                    why = "out of time" if process.poll() is None else "crashed"
                    yield {"solver": left.pop(0), "words": f"{why}, {phase}"}
                    break
                if "running" in record:
                    # The run is repeated where it is quick, hence a little more.
                    allowed, phase = limit + 10.0, "running"
                    continue
                allowed, phase = compile_limit, "compiling"
                left.remove(record["solver"])
                yield record
        finally:
            process.kill()
            process.communicate()


def _forward(stream: Any, lines: "Queue[str | None]") -> None:
    with contextlib.suppress(ValueError):
        for line in stream:
            lines.put(line)
    lines.put(None)


def _next(lines: "Queue[str | None]", seconds: float) -> dict[str, Any] | None:
    try:
        line = lines.get(timeout=seconds)
    except Empty:
        return None
    return None if line is None else json.loads(line)


def main(arguments: list[str]) -> int:
    """Run the solvers on the problem, a line of JSON each."""
    jax.config.update("jax_enable_x64", True)
    # Every run is waited for, so nothing is gained by a second thread, and handing over takes longer than many a run.
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    problem, *solvers = arguments
    given = case(problem)
    for solver in solvers:
        try:
            record = measured(given, solver)
        except Exception as error:  # a peer's failure is a result
            record = {"solver": solver, "words": f"{type(error).__name__}: {error}"[:120]}
        print(json.dumps(record), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Running one trial: a chunk of lanes through one compiled program, or one point of an ordinary function."""

import itertools
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np

from jaxcalc.lab.errors import TrialError
from jaxcalc.lab.registry import Experiment
from jaxcalc.lab.runtime import CacheCounter
from jaxcalc.lab.sweep import put, replace, static_key, swept_fields


class Programs:
    """The programs of one process by their static settings: traced once, compiled once, run for every chunk."""

    def __init__(self) -> None:
        self._traced: dict[tuple[Any, ...], Any] = {}
        self._trace_seconds: dict[tuple[Any, ...], float] = {}
        self._compiled: dict[tuple[Any, ...], Any] = {}

    def traced(self, experiment: Experiment, config: dict[str, Any]) -> Any:
        """The traced program of a trial.

        Raises:
          TrialError: ``run`` branches on a traced value.
        """
        import jax

        base = point(experiment, config)
        key = _key(config, base)
        if key not in self._traced:
            function, arguments = program(experiment, config, base)
            start = time.perf_counter()
            try:
                self._traced[key] = jax.jit(function).trace(*arguments)
            except (jax.errors.ConcretizationTypeError, jax.errors.TracerArrayConversionError) as error:
                raise _branching(experiment, base, error) from error
            self._trace_seconds[key] = time.perf_counter() - start
        return self._traced[key]

    def compiled(self, experiment: Experiment, config: dict[str, Any]) -> tuple[Any, float]:
        """The compiled program of a trial, and the seconds of tracing and compiling if that was done for it."""
        key = _key(config, point(experiment, config))
        if key in self._compiled:
            return self._compiled[key], 0.0
        traced = self.traced(experiment, config)  # perhaps long since, to price the chunks
        start = time.perf_counter()
        self._compiled[key] = traced.lower().compile()
        return self._compiled[key], self._trace_seconds[key] + time.perf_counter() - start


def _key(config: dict[str, Any], base: Any) -> tuple[Any, ...]:
    return (static_key(config["params"], base), config["width"], *sorted(config["lanes"]))


@dataclass(frozen=True)
class Outcome:
    """What a trial gave: arrays with the lanes first, seconds apart, and where its program came from."""

    arrays: dict[str, np.ndarray]
    compile_seconds: float
    run_seconds: float
    cache: str


def run_trial(experiment: Experiment, config: dict[str, Any], programs: Programs) -> Outcome:
    """Run one trial.

    Args:
      experiment: whose ``run`` it is.
      config: a trial's config, as the plan makes it.
      programs: compiled programs of this process by their static settings; new ones are added.

    Raises:
      TrialError: what ``run`` returned is not what ``VARIABLES`` declares, or it branches on a traced value.
    """
    names = set(experiment.variables) - set(config["shared"])
    with CacheCounter() as counter:
        if experiment.kind == "compiled":
            arrays, compiled, ran = _run_compiled(experiment, config, programs)
        else:
            arrays, compiled, ran = _run_plain(experiment, config)
    cache = counter.verdict if compiled or experiment.kind != "compiled" else "memory"
    return Outcome(_declared(experiment, arrays, names), compiled, ran, cache)


def lanes_of(config: dict[str, Any]) -> tuple[dict[str, list[Any]], int]:
    """A trial's columns of swept values, one entry a lane, and its number of lanes."""
    return config["lanes"], len(next(iter(config["lanes"].values()), (None,)))


def point(experiment: Experiment, config: dict[str, Any]) -> Any:
    """The experiment's Config at a trial's first lane."""
    params = config["params"]
    for name, column in config["lanes"].items():
        if name != "seed":
            params = put(params, tuple(name.split(".")), column[0])
    return experiment.part.Config.model_validate_json(json.dumps(params), strict=True, extra="forbid")


def _run_plain(experiment: Experiment, config: dict[str, Any]) -> tuple[dict[str, Any], float, float]:
    import jax

    start = time.perf_counter()
    arrays = experiment.part.run(point(experiment, config), jax.random.key(config["seed"]))
    arrays = jax.block_until_ready(_mapping(experiment, arrays))
    return {k: np.asarray(v)[None] for k, v in arrays.items()}, 0.0, time.perf_counter() - start


def _run_compiled(experiment: Experiment, config: dict[str, Any], programs: Programs) -> tuple[dict, float, float]:
    import jax
    import scipy.linalg  # noqa: F401 (what factors for JAX: a library is limited only once it is loaded)
    from threadpoolctl import threadpool_limits

    compiled, seconds = programs.compiled(experiment, config)
    _, arguments = program(experiment, config, point(experiment, config))
    # Lanes factor small matrices one after the other, which with more threads takes up to twenty times as long.
    with threadpool_limits(1, user_api="blas"):
        ready = time.perf_counter()
        result = jax.block_until_ready(compiled(*arguments))
        ran = time.perf_counter() - ready
    _, count = lanes_of(config)
    unpack = (lambda v: np.asarray(v)[:count]) if config["lanes"] else (lambda v: np.asarray(v)[None])
    return {k: unpack(v) for k, v in result.items()}, seconds, ran


def program(experiment: Experiment, config: dict[str, Any], base: Any) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """A trial's function of traced values and seeds over all its lanes, and its arguments.

    Lanes that fill the last chunk up to the width repeat its last lane.
    """
    import jax

    columns, count = lanes_of(config)
    fill = config["width"] - count
    values: dict[str, Any] = {}
    paths = {".".join(map(str, path)): path for path in swept_fields(base)}
    for name, path in paths.items():
        written = columns[name] + columns[name][-1:] * fill if name in columns else _at(base, path)
        values[name] = _traced_value(experiment, name, written, base, path)
    seeds = columns["seed"] + columns["seed"][-1:] * fill if "seed" in columns else config["seed"]

    def one(traced: dict[str, Any], seed: Any) -> Any:
        point = replace(base, {paths[name]: value for name, value in traced.items()})
        return _mapping(experiment, experiment.part.run(point, jax.random.key(seed)))

    arguments = (values, np.asarray(seeds, np.uint32))
    if not columns:
        return one, arguments
    axes = ({name: 0 if name in columns else None for name in values}, 0 if "seed" in columns else None)
    return jax.vmap(one, in_axes=axes), arguments


def _at(config: Any, path: tuple[Any, ...]) -> Any:
    for step in path:
        config = getattr(config, step)
    return config


def _traced_value(experiment: Experiment, name: str, written: Any, base: Any, path: tuple[Any, ...]) -> np.ndarray:
    """Swept values in the dtype that the field's annotation has in this run."""
    import jax.numpy as jnp

    *inner, last = path
    kinds = _kinds(type(_at(base, tuple(inner))).model_fields[last].annotation)
    kind = next((k for k in (float, int, bool) if k in kinds), type(_at(base, path)))
    dtype = jnp.result_type(kind)
    try:
        with np.errstate(over="ignore"):
            array = np.asarray(written, dtype)
    except OverflowError:
        raise TrialError(f"{experiment.name}: {name} does not fit {dtype}: {written}") from None
    if array.dtype.kind == "f" and (np.isinf(array) & np.isfinite(np.asarray(written, float))).any():
        raise TrialError(f"{experiment.name}: {name} holds a number beyond the range of {dtype}; use dtype: float64")
    return array


def _kinds(annotation: Any) -> set[Any]:
    """The plain types in an annotation, past Annotated, Optional and unions."""
    inside = get_args(annotation)
    return set().union(*map(_kinds, inside)) if inside else {annotation}


def _mapping(experiment: Experiment, returned: Any) -> Mapping[str, Any]:
    if not isinstance(returned, Mapping):
        raise TrialError(
            f"{experiment.name}: run must return a dict of arrays, got {type(returned).__name__}; "
            f"VARIABLES declares {', '.join(experiment.variables)}"
        )
    return returned


def _branching(experiment: Experiment, base: Any, error: Exception) -> TrialError:
    """Name the fields whose traced value stopped the trace: those that stop it when they alone are traced."""
    import jax

    guilty = []
    for path in swept_fields(base):

        def alone(value: Any, path: tuple[Any, ...] = path) -> Any:
            return experiment.part.run(replace(base, {path: value}), jax.random.key(0))

        try:
            jax.eval_shape(alone, _traced_value(experiment, ".".join(map(str, path)), _at(base, path), base, path))
        except (jax.errors.ConcretizationTypeError, jax.errors.TracerArrayConversionError):
            guilty.append(".".join(map(str, path)))
    if not guilty:
        return TrialError(f"{experiment.name}: run needs a concrete value of a traced array: {error}")
    return TrialError(
        f"{experiment.name}: run branches on {' and '.join(guilty)}, which a compiled experiment receives traced. "
        "Use jax.lax.cond or jnp.where, or take the Swept mark off the field and sweep it under grid:."
    )


def check_declared(experiment: Experiment, arrays: Mapping[str, Any], names: set[str]) -> None:
    """Hold names, ranks and sizes (lanes first) against ``VARIABLES``.

    Raises:
      TrialError: the first that differs.
    """
    who = f"{experiment.name}: run"
    if missing := sorted(names - set(arrays)):
        raise TrialError(f"{who} did not return {', '.join(missing)}, which VARIABLES declares")
    if extra := sorted(set(arrays) - names):
        raise TrialError(f"{who} returned {', '.join(extra)}, which VARIABLES does not declare or shared returns")
    sizes: dict[str, tuple[int, str]] = {}
    for name in names:
        shape, dims = arrays[name].shape[1:], experiment.variables[name].dims
        if len(shape) != len(dims):
            raise TrialError(f"{who}: {name} has shape {shape}, but VARIABLES gives it dimensions {dims}")
        for dim, size in zip(dims, shape):
            known, by = sizes.setdefault(dim, (size, name))
            if known != size:
                raise TrialError(f"{who}: dimension {dim!r} has size {known} in {by} and {size} in {name}")


def _declared(experiment: Experiment, arrays: Mapping[str, np.ndarray], names: set[str]) -> dict[str, np.ndarray]:
    """The arrays in the order of ``VARIABLES``, checked, in plain dtypes, coordinates once."""
    check_declared(experiment, arrays, names)
    who = f"{experiment.name}: run"
    plain = {name: _plain(who, name, arrays[name]) for name in experiment.variables if name in names}
    return {k: _coordinate(who, k, v) if experiment.variables[k].dims == (k,) else v for k, v in plain.items()}


def plain_dtype(dtype: np.dtype) -> np.dtype | None:
    """The dtype in which results are kept: narrow floats as float32 and narrow integers as int8, exactly."""
    if dtype.name.startswith(("bfloat16", "float16", "float8", "float4")):
        return np.dtype(np.float32)
    if dtype.name.startswith(("int4", "int2", "uint4", "uint2")):
        return np.dtype(np.int8)
    if dtype == np.longdouble:
        return np.dtype(np.float64)
    return dtype if dtype.kind in "biufU" else None


def _plain(who: str, name: str, array: np.ndarray) -> np.ndarray:
    """The array in a dtype that every reader of netCDF knows; narrow floats become float32, exactly."""
    dtype = plain_dtype(array.dtype)
    if dtype is not None:
        return array.astype(dtype, copy=False)
    if array.dtype.kind == "O" and all(isinstance(item, str) for item in array.ravel()):
        return array.astype(str)
    remedy = " Return its real and imaginary parts as two variables." if array.dtype.kind == "c" else ""
    raise TrialError(f"{who}: {name} has dtype {array.dtype}; expected numbers, booleans or text.{remedy}")


def _coordinate(who: str, name: str, array: np.ndarray) -> np.ndarray:
    """A coordinate is the same in every lane; one copy is kept."""
    if not all(np.array_equal(array[0], lane) for lane in itertools.islice(array, 1, None)):
        raise TrialError(
            f"{who}: {name} is the coordinate of dimension {name!r} and may not depend on a swept value; "
            "give the variable another name"
        )
    values = array[0].tolist()
    if len(set(values)) < len(values) or any(value != value for value in values):
        raise TrialError(
            f"{who}: {name} is the coordinate of dimension {name!r} and must hold every value once, no NaN"
        )
    return array[:1]

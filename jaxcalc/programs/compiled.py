"""A function as XLA compiled it: XLA's own operation counts and buffer sizes, and what the compilation took.

Traps handled here, so that no caller meets them:

* XLA counts the body of a loop once, whatever the trip count: a scan of 2 and one of 200 report the same. The counts of
  a program with a ``while`` are therefore NaN (``counted_flops`` keeps the raw figure); to count a scan, unroll it.
* XLA cannot see into a custom call (LAPACK, FFT, a foreign function). Counts beside one are NaN too, unless the call is
  a matrix product whose operations XLA knows.
* ``peak_memory_in_bytes`` can be below the temporaries alone on CPU. ``footprint`` is temporaries plus outputs.

Traps left to the caller:

* What a function closes over is a constant, and XLA computes with constants at compile time: what shall be counted has
  to be an argument.
* A conditional counts its dearest branch.
* On CPU XLA merges the recomputation that ``jax.checkpoint`` asks for with the first computation when layers are
  written out, and the memory saved is lost; in a scan the two stay apart. Judge checkpointing on scanned programs.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax

from jaxcalc import measure

__all__ = ["Executable", "executable"]

# An instruction line of optimised HLO: `%name = shape while(%operand), ...`.
_WHILE = re.compile(r"^\s*(?:ROOT )?\S+ = .*\bwhile\(", re.MULTILINE)
_CUSTOM_CALL = re.compile(r'\bcustom-call\(.*?custom_call_target="([^"]+)"')
# Matrix products that XLA's backends hand to a library and still count.
_COUNTED_CALLS = ("__cublas", "__cudnn", "__onednn")


@dataclass(frozen=True)
class Executable:
    """A compiled program beside its counts; calling it runs it.

    Args:
      call: the compiled program, for arguments of the shapes and dtypes that it was compiled for.
      counted_flops: additions, multiplications and the like as XLA counts them, a loop's body once.
      counted_transcendentals: exponentials, sines and the like, counted apart by XLA, a loop's body once.
      counted_bytes: bytes that the instructions read and write, a loop's body once.
      temporaries, outputs, arguments, aliased: bytes of the buffers; ``aliased`` are outputs that reuse an argument's.
      code: bytes of the machine code.
      loops: ``while`` instructions in the optimised program.
      opaque: targets of custom calls whose work is not in the counts.
      trace_seconds: Python to StableHLO. compile_seconds: StableHLO to machine code.
    """

    call: Callable[..., Any]
    counted_flops: float
    counted_transcendentals: float
    counted_bytes: float
    temporaries: int
    outputs: int
    arguments: int
    aliased: int
    code: int
    loops: int
    opaque: tuple[str, ...]
    trace_seconds: float
    compile_seconds: float

    def __call__(self, *args: Any) -> Any:
        return self.call(*args)

    @property
    def exact(self) -> bool:
        """Whether XLA's counts are the program's: it has no loop and no opaque call."""
        return self.loops == 0 and not self.opaque

    @property
    def flops(self) -> float:
        """Floating-point operations without transcendentals; NaN where XLA's count is not the program's."""
        return self.counted_flops if self.exact else float("nan")

    @property
    def transcendentals(self) -> float:
        """Transcendental operations; NaN where XLA's count is not the program's."""
        return self.counted_transcendentals if self.exact else float("nan")

    @property
    def operations(self) -> float:
        """Floating-point operations plus transcendentals, one each; NaN where XLA's count is not the program's."""
        return self.flops + self.transcendentals

    @property
    def bytes_accessed(self) -> float:
        """Bytes read and written by the instructions; NaN where XLA's count is not the program's."""
        return self.counted_bytes if self.exact else float("nan")

    @property
    def footprint(self) -> int:
        """Bytes that a call needs beyond its arguments: temporaries + outputs - outputs that reuse an argument."""
        return self.temporaries + self.outputs - self.aliased


def executable(fun: Callable[..., Any], *args: Any) -> Executable:
    """Compile a function for arguments like these, without running it.

    Args:
      fun: a function of arrays or PyTrees of arrays; what it closes over becomes a constant of the program.
      *args: arrays, or ``jax.ShapeDtypeStruct`` where only shapes are known.

    Returns:
      An ``Executable``: callable, with XLA's counts, buffer sizes and the seconds that tracing and compiling took.

    Raises:
      RuntimeError: if the backend tells no buffer sizes.
    """
    lowered, trace_seconds = measure.once(lambda: jax.jit(fun).lower(*args))
    compiled, compile_seconds = measure.once(lowered.compile)

    counts = compiled.cost_analysis() or {}
    memory = compiled.memory_analysis()
    if memory is None:
        raise RuntimeError(f"executable: the {jax.default_backend()} backend tells no buffer sizes of a program.")
    text = compiled.as_text() or ""
    opaque = {name for name in _CUSTOM_CALL.findall(text) if not name.startswith(_COUNTED_CALLS)}
    return Executable(
        call=compiled,
        counted_flops=float(counts.get("flops", 0.0)),
        counted_transcendentals=float(counts.get("transcendentals", 0.0)),
        counted_bytes=float(counts.get("bytes accessed", 0.0)),
        temporaries=memory.temp_size_in_bytes,
        outputs=memory.output_size_in_bytes,
        arguments=memory.argument_size_in_bytes,
        aliased=memory.alias_size_in_bytes,
        code=memory.generated_code_size_in_bytes,
        loops=len(_WHILE.findall(text)),
        opaque=tuple(sorted(opaque)),
        trace_seconds=trace_seconds,
        compile_seconds=compile_seconds,
    )

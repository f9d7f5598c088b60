"""ONNX Runtime, without graph rewrites and on the processor; runs in a process of its own."""

from itertools import count
from typing import Any

import numpy as np

from npusim.foreign.side import Refused, imported
from npusim.foreign.wire import Array, holds

_sessions: dict[int, Any] = {}
_numbers = count(1)


def version() -> str:
    """Return the runtime's version."""
    return str(imported("onnxruntime").__version__)


def opened(model: bytes, alone: bool) -> int:
    """Return the number of a session.

    Parameters
    ----------
    model : bytes
        An ONNX model.
    alone : bool
        One thread, that of the run: the order of sums depends on no number of threads.

    Raises
    ------
    Refused
        When ONNX Runtime does not take the model.
    """
    runtime = imported("onnxruntime")
    options = runtime.SessionOptions()
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    if alone:
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.enable_cpu_mem_arena = False  # else it keeps the peak of every sample size
    try:
        session = runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's exceptions have no base of their own
        raise Refused(str(error).strip()) from error
    number = next(_numbers)
    _sessions[number] = session
    return number


def ran(session: int, wanted: list[str], feeds: dict[str, Array]) -> list[Array | None]:
    """Return the values of outputs; None for one that is no tensor.

    Raises
    ------
    Refused
        When ONNX Runtime stops.
    """
    try:
        # of no name ONNX Runtime computes every output
        found = _sessions[session].run(wanted, feeds) if wanted else []
    except Exception as error:  # of the runtime's own kinds, for example an index out of range
        raise Refused(str(error).strip()) from error
    return [value if isinstance(value, np.ndarray) and holds(value) else None for value in found]


def closed(session: int) -> None:
    """Free a session."""
    _sessions.pop(session, None)


def ran_once(model: bytes, wanted: list[str], feeds: dict[str, Array]) -> list[Array | None]:
    """Open a session, run it and free it."""
    session = opened(model, False)
    try:
        return ran(session, wanted, feeds)
    finally:
        closed(session)

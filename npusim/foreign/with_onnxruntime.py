"""ONNX Runtime, without graph rewrites and on the processor; runs in a process of its own."""

import os
from itertools import count
from math import prod
from typing import Any

import numpy as np

from npusim.foreign.side import Refused, Room, imported, takes_room
from npusim.foreign.wire import Array, holds, rooms, rounded

# Since 1.29 importing it leaves a session, a device's number and a database of events behind, in
# the folders of temporary files and of the user's cache (measured with 1.29 to 1.32).
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

TYPES: dict[str, np.dtype[Any]] = {
    "tensor(float)": np.dtype(np.float32),
    "tensor(int64)": np.dtype(np.int64),
    "tensor(int32)": np.dtype(np.int32),
    "tensor(int8)": np.dtype(np.int8),
    "tensor(uint8)": np.dtype(np.uint8),
    "tensor(bool)": np.dtype(np.bool_),
}

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


@takes_room
def ran(
    session: int, wanted: list[str], feeds: dict[str, Array], room: Room | None = None
) -> list[Array | None]:
    """Return the values of outputs; None for one that is no tensor.

    Raises
    ------
    Refused
        When ONNX Runtime stops.
    """
    known = _sessions[session]
    try:
        found = _into(known, wanted, feeds, room) if room and wanted else None
    except Exception:  # what is wrong, the plain call says; or it knows better about a shape
        found = None
    try:
        if found is None:
            # of no name ONNX Runtime computes every output
            found = known.run(wanted, feeds) if wanted else []
    except Exception as error:  # of the runtime's own kinds, for example an index out of range
        raise Refused(str(error).strip()) from error
    return [value if isinstance(value, np.ndarray) and holds(value) else None for value in found]


def _into(session: Any, wanted: list[str], feeds: dict[str, Array], room: Room) -> Any:
    """Return the outputs, computed where the answer lies; None unless all have known sizes."""
    declared = {item.name: item for item in session.get_outputs()}
    forms = []
    for name in wanted:
        dtype, shape = TYPES.get(declared[name].type), tuple(declared[name].shape)
        if dtype is None or not all(isinstance(size, int) and size > 0 for size in shape):
            return None
        forms.append((dtype, shape))
    memory = room(sum(rounded(dtype.itemsize * prod(shape)) for dtype, shape in forms))
    if memory is None:
        return None
    made = rooms(forms, memory)
    binding = session.io_binding()
    for name, value in feeds.items():
        binding.bind_cpu_input(name, value)
    for name, value in zip(wanted, made, strict=True):
        binding.bind_output(name, "cpu", 0, value.dtype.type, value.shape, value.ctypes.data)
    session.run_with_iobinding(binding)
    return made


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

"""Whether this process may use Intel AMX tiles, asked before the first instruction that needs them.

Linux hands the tile registers out on request only. Without them such an instruction ends the
process, even where the processor lists it. The permission holds for all threads, those to come
included, and for forked children; a started program asks for itself.
"""

import ctypes
import errno
import os
import sys
from functools import cache

from llvmlite import binding

from npusim.kernels._jit import target_has
from npusim.kernels.features import AMX_INT8

_ARCH_PRCTL = 158  # the system call's number on x86-64
_REQUEST, _GRANTED = 0x1023, 0x1022  # ARCH_REQ_XCOMP_PERM, ARCH_GET_XCOMP_PERM
_TILE_DATA = 18  # bit of the processor's extended state


@cache
def refusal() -> str:
    """Return why this process may not use tiles; nothing if it may."""
    try:
        host = binding.get_host_cpu_features()  # with what the system has enabled (XCR0)
    except RuntimeError:  # LLVM cannot tell on this system
        host = {}
    missing = [name for name in AMX_INT8 if not host.get(name)]
    if missing:
        return f"the processor has no {', '.join(missing)}"
    if not target_has(AMX_INT8):
        return "NUMBA_CPU_NAME or NUMBA_CPU_FEATURES leaves tiles out"
    if sys.platform != "linux":
        return f"there is no way known to ask {sys.platform} for the tile registers"
    return _ask_linux()


def _ask_linux() -> str:
    """Ask for the tile registers; return why there are none, or nothing."""
    call = ctypes.CDLL(None, use_errno=True).syscall
    call.restype = ctypes.c_long
    number = ctypes.c_long(_ARCH_PRCTL)
    if call(number, ctypes.c_long(_REQUEST), ctypes.c_long(_TILE_DATA)):
        error = ctypes.get_errno()
        reason = os.strerror(error)
        if error == errno.ENOSPC:
            reason = "a thread's stack for signals is too small for them"
        return f"the system does not grant the tile registers ({reason})"
    granted = ctypes.c_uint64(0)
    if call(number, ctypes.c_long(_GRANTED), ctypes.byref(granted)):
        reason = os.strerror(ctypes.get_errno())
        return f"the system does not say whether it granted the tile registers ({reason})"
    if not granted.value >> _TILE_DATA & 1:
        return "the system accepted the request for the tile registers and did not grant them"
    return ""

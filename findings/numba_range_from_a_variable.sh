#!/usr/bin/env bash
# A Numba loop over range(first, last) with a signed variable as its start runs several times slower
# than the same loop over slices, even behind a check that the start is not negative.
#
# Versions: numba 0.68.1, numpy 2.4.6, Python 3.11, x86-64 Linux (compiled for x86-64-v3).
# Expected: the machine code has packed instructions (vmulps) in both cases, and a guard
# "if first < 0: raise" tells the compiler that no index wraps round. So all forms are equally fast.
# Seen: packed instructions are there and are not what runs. For the values of such a range Numba's
# indexing keeps the case of a negative index (Python's meaning: from the end), and elements are
# taken one by one. The guard changes nothing, nor does max(first, 0), nor x[first + i] with i from 0.
# A start that is a constant, bounds of type uint64, and slices x[first:last] indexed from 0 are all fast.
#
# Output (times depend on the machine, the sides do not):
#   slow: signed_start, guarded_start, added_start
#   fast: slices, constant_start, unsigned_start
#   packed instructions: in all of them
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q numba==0.68.1 numpy==2.4.6
cd "$work"
NUMBA_CPU_NAME=x86-64-v3 NUMBA_CPU_FEATURES=+avx2,+fma "$work/venv/bin/python" - <<'PY'
import time

import numpy as np
from numba import njit

SIGNED = "void(int16[::1], float32, int16[::1], int64, int64)"
UNSIGNED = "void(int16[::1], float32, int16[::1], uint64, uint64)"


@njit(SIGNED)
def signed_start(x, scale, out, first, last):
    for i in range(first, last):
        out[i] = np.int16(np.float32(x[i]) * scale)


@njit(SIGNED)
def guarded_start(x, scale, out, first, last):
    if first < 0:
        raise ValueError
    for i in range(first, last):
        out[i] = np.int16(np.float32(x[i]) * scale)


@njit(SIGNED)
def added_start(x, scale, out, first, last):
    for i in range(last - first):
        out[first + i] = np.int16(np.float32(x[first + i]) * scale)


@njit(SIGNED)
def slices(x, scale, out, first, last):
    source, target = x[first:last], out[first:last]
    for i in range(source.size):
        target[i] = np.int16(np.float32(source[i]) * scale)


@njit(SIGNED)
def constant_start(x, scale, out, first, last):
    for i in range(0, last):
        out[i] = np.int16(np.float32(x[i]) * scale)


@njit(UNSIGNED)
def unsigned_start(x, scale, out, first, last):
    for i in range(first, last):
        out[i] = np.int16(np.float32(x[i]) * scale)


x = np.arange(-8192, 8192, dtype=np.int16)  # in the first-level cache
results, times = {}, {}
for function in (signed_start, guarded_start, added_start, slices, constant_start, unsigned_start):
    name = function.py_func.__name__
    assert "vmulps" in "".join(function.inspect_asm().values()), name
    out = np.empty_like(x)
    taken = []
    for _ in range(400):
        begin = time.perf_counter_ns()
        function(x, 0.5, out, 0, x.size)
        taken.append(time.perf_counter_ns() - begin)
    results[name], times[name] = out, min(taken)
assert all(np.array_equal(out, results["slices"]) for out in results.values())
slow = [name for name, taken in times.items() if taken > 2 * times["slices"]]
fast = [name for name in times if name not in slow]
print("slow:", ", ".join(slow))
print("fast:", ", ".join(fast))
print("packed instructions: in all of them")
assert slow == ["signed_start", "guarded_start", "added_start"], times
PY

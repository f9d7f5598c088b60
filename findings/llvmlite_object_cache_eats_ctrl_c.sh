#!/usr/bin/env bash
# Ctrl-C that arrives while llvmlite hands compiled code to an object cache is lost.
#
# Versions: llvmlite 0.50.0 (the one of numba 0.68), Python 3.11, x86-64 Linux.
# Expected: an exception of a function given to ExecutionEngine.set_object_cache ends
# finalize_object, as does one of any other Python function that a Python call runs. Numba stores
# code of functions with cache=True in such a function, so much of what a user waits for is there.
# Seen: LLVM calls it through ctypes, which prints "Exception ignored" and goes on. finalize_object
# returns as if nothing had happened and the code runs. A KeyboardInterrupt is an exception like
# any other here: a program interrupted at this moment goes on and takes a second Ctrl-C.
#
# Output:
#   finalize_object returned; functions called: get notify
#   the compiled function gives 2
#   said on stderr: Exception ignored, KeyboardInterrupt
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q llvmlite==0.50.0
cd "$work"
"$work/venv/bin/python" - 2>"$work/log" <<'PY' || { cat "$work/log"; exit 1; }
import ctypes
import signal

import llvmlite.binding as llvm

llvm.initialize_native_target()
llvm.initialize_native_asmprinter()
machine = llvm.Target.from_default_triple().create_target_machine()
module = llvm.parse_assembly("define i64 @two() {\n  ret i64 2\n}\n")
engine = llvm.create_mcjit_compiler(module, machine)
called = []


def notify(_module, _code):
    called.append("notify")
    signal.raise_signal(signal.SIGINT)  # what Ctrl-C does
    called.append("went on")


engine.set_object_cache(notify, lambda _module: called.append("get"))
engine.finalize_object()
print("finalize_object returned; functions called:", *called)
assert called == ["get", "notify"]
two = ctypes.CFUNCTYPE(ctypes.c_int64)(engine.get_function_address("two"))
print("the compiled function gives", two())
assert two() == 2
PY
grep -q "Exception ignored" "$work/log"
grep -q "^KeyboardInterrupt" "$work/log"
echo "said on stderr: Exception ignored, KeyboardInterrupt"

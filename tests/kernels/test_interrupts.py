"""Ctrl-C while kernels compile is neither lost in the compiler nor costs what was compiled."""

import pytest

from tests.kernels.test_cache import kept, run, small_package

IN_A_CALLBACK = """
import signal
from numba.core.codegen import CPUCodeLibrary
seen = []
plain = CPUCodeLibrary._object_compiled_hook.__func__
def interrupted(cls, module, code):
    if module.name == "call" and not seen:
        seen.append(module)
        signal.raise_signal(signal.SIGINT)
    plain(cls, module, code)
CPUCodeLibrary._object_compiled_hook = classmethod(interrupted)
from npusim.kernels.caller import call
try:
    call(10)
    print("lost")
except KeyboardInterrupt:
    print("interrupted", call(10))
"""
TWICE = """
import signal
from npusim.kernels._interrupts import interrupted_afterwards
before = signal.getsignal(signal.SIGINT)
try:
    with interrupted_afterwards():
        signal.raise_signal(signal.SIGINT)
        print("waited")
        signal.raise_signal(signal.SIGINT)
        print("lost")
except KeyboardInterrupt:
    print("interrupted", signal.getsignal(signal.SIGINT) is before)
signal.signal(signal.SIGINT, signal.SIG_IGN)
with interrupted_afterwards():
    signal.raise_signal(signal.SIGINT)
print("ignored")
"""


@pytest.fixture
def package(tmp_path):
    return small_package(tmp_path)


def test_an_interrupt_in_a_callback_of_the_compiler_comes_after_it(package, tmp_path):
    words, said = run(package, tmp_path / "cache", IN_A_CALLBACK)
    assert (words, said) == (["interrupted", "11"], "")
    assert [path.name.partition("-")[0] for path in kept(tmp_path / "cache")] == ["caller.call"]


def test_a_second_interrupt_does_not_wait(package, tmp_path):
    words, _ = run(package, tmp_path / "cache", TWICE)
    assert words == ["waited", "interrupted", "True", "ignored"]

"""Objects in forked children and other processes."""

import copy
import os
import pickle
import threading
import time
import warnings

import numpy as np
import pytest

import npusim
from npusim.errors import ConfigError
from npusim.kernels import _jit
from npusim.rknn import log
from npusim.runtime.forks import ForkSafeLock

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="a system without fork")
PATIENCE_S = 60.0


def in_child(work):
    """Return the exit code of a forked child that does the work; -1 when it hangs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of fork beside threads, 3.12
        child = os.fork()
    if not child:
        code = 3
        try:
            code = 0 if work() else 2
        finally:
            os._exit(code)
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return -1


@pytest.fixture
def built(new, convnet, images, work):
    rknn = new()
    rknn.config(mean_values=[[127.5] * 3], std_values=[[127.5] * 3])
    assert rknn.load_onnx(convnet()) == 0
    assert rknn.build(do_quantization=True, dataset=images().path) == 0
    assert rknn.init_runtime() == 0
    return rknn


def test_a_fork_while_another_thread_infers_hangs_nobody(built):
    shape = built._built.spec(built._built.inputs[0]).shape
    picture = np.random.default_rng(0).integers(0, 256, (*shape[2:], shape[1]), np.uint8)
    expected = built.inference(inputs=[picture])
    stop = threading.Event()

    def infer():
        while not stop.is_set():
            built.inference(inputs=[picture])

    def same():
        found = built.inference(inputs=[picture])
        return all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))

    others = [threading.Thread(target=infer) for _ in range(2)]
    for other in others:
        other.start()
    try:
        codes = [in_child(same) for _ in range(8)]
    finally:
        stop.set()
        for other in others:
            other.join()
    assert codes == [0] * 8
    assert same()


def held_by_another_thread(enter, leave):
    """Run enter in another thread; return what makes it call leave."""
    inside, end = threading.Event(), threading.Event()

    def hold():
        enter()
        inside.set()
        end.wait()
        leave()

    thread = threading.Thread(target=hold)
    thread.start()
    inside.wait()

    def let_go():
        end.set()
        thread.join()

    return let_go


def test_a_lock_of_another_thread_is_free_in_the_child_and_the_own_stays_held():
    lock, own = ForkSafeLock(), ForkSafeLock()
    let_go = held_by_another_thread(lock.acquire, lock.release)
    with own:
        before = own._lock
        assert in_child(lambda: lock.acquire(blocking=False) and own._lock is before) == 0
        assert not lock.acquire(blocking=False)
    let_go()
    assert lock.acquire(blocking=False)


def test_calls_of_other_threads_do_not_keep_a_child_listening():
    let_go = held_by_another_thread(lambda: log._listen(1), lambda: log._listen(-1))
    assert log._calls == 1
    assert in_child(lambda: log._calls == 0) == 0
    assert log._calls == 1
    let_go()


def test_a_fork_waits_for_what_is_being_compiled():
    let_go = held_by_another_thread(_jit._COMPILING.acquire, _jit._COMPILING.release)
    threading.Timer(0.2, let_go).start()
    assert in_child(lambda: _jit._COMPILING.acquire(blocking=False)) == 0


def test_the_class_says_why_it_cannot_be_pickled(built):
    for copied in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(ConfigError, match="export_rknn here and load_rknn"):
            copied(built)


def test_a_program_can_be_pickled(built):
    program = npusim.compile(built._built)
    again = pickle.loads(pickle.dumps(program))
    name = program.graph.inputs[0]
    feeds = {name: np.ones(program.graph.spec(name).shape, np.float32)}
    for output, value in program.run(feeds).items():
        assert np.array_equal(again.run(feeds)[output], value)

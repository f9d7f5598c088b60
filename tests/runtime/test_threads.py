import threading
import time

import numpy as np
import pytest

from npusim import environment
from npusim.errors import ConfigError
from npusim.runtime import threads


@pytest.fixture(autouse=True)
def fresh():
    environment.thread_count.cache_clear()
    threads._pool.cache_clear()
    yield
    environment.thread_count.cache_clear()
    threads._pool.cache_clear()


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("rows", [0, 1, 2, 7, 64])
def test_every_row_is_done_once(monkeypatch, count, rows):
    monkeypatch.setenv("NPUSIM_NUM_THREADS", str(count))
    done = np.zeros(rows, int)

    def call(start, stop):
        done[start:stop] += 1

    threads.run_rows(call, rows, work=1 << 40)
    assert (done == 1).all()


def test_small_work_stays_in_the_calling_thread(monkeypatch):
    monkeypatch.setenv("NPUSIM_NUM_THREADS", "4")
    seen = []
    threads.run_rows(lambda start, stop: seen.append((start, stop, threading.get_ident())), 9, 9)
    assert seen == [(0, 9, threading.get_ident())]


def test_an_error_in_any_part_is_raised_after_all_parts_ended(monkeypatch):
    monkeypatch.setenv("NPUSIM_NUM_THREADS", "3")
    begun, ended = [], []

    def call(start, stop):
        begun.append(start)
        if start == 6:
            raise ArithmeticError("seventh row")
        time.sleep(0.002)
        ended.append(start)

    with pytest.raises(ArithmeticError, match="seventh row"):
        threads.run_rows(call, 9, work=1 << 40)
    assert sorted(begun) == sorted([*ended, 6])


@pytest.mark.parametrize("text", ["0", "-1", "two", "1.5"])
def test_bad_number_of_threads(monkeypatch, text):
    monkeypatch.setenv("NPUSIM_NUM_THREADS", text)
    with pytest.raises(ConfigError, match="whole number of threads"):
        environment.thread_count()


def test_scratch_belongs_to_its_thread_and_key():
    mine = threads.scratch("a", 10, np.float32)
    assert mine.size >= 10
    assert mine.ctypes.data % 64 == 0
    assert np.shares_memory(mine, threads.scratch("a", 5, np.float32))
    assert not np.shares_memory(mine, threads.scratch("a", 10, np.int32))
    assert not np.shares_memory(mine, threads.scratch("b", 10, np.float32))
    theirs = []
    other = threading.Thread(target=lambda: theirs.append(threads.scratch("a", 10, np.float32)))
    other.start()
    other.join()
    assert not np.shares_memory(mine, theirs[0])

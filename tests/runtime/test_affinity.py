import os
import threading

import numpy as np
import pytest

from npusim.kernels.wait import until_changed
from npusim.runtime import affinity

if not hasattr(os, "sched_setaffinity"):
    pytest.skip("the system cannot place threads", allow_module_level=True)


@pytest.fixture
def helper():
    leave, begun = threading.Event(), threading.Event()
    thread = threading.Thread(target=lambda: (begun.set(), leave.wait()))
    thread.start()
    begun.wait()
    yield thread.native_id
    leave.set()
    thread.join()


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one processor")
def test_caller_and_helper_have_processors_of_their_own(helper):
    before = os.sched_getaffinity(0)
    with affinity.kept_apart((helper,)):
        (own,) = os.sched_getaffinity(0)
        assert os.sched_getaffinity(helper) == before - {own}
    assert os.sched_getaffinity(0) == before


def test_the_caller_gets_its_processors_back_after_an_error(helper):
    before = os.sched_getaffinity(0)
    with pytest.raises(ArithmeticError), affinity.kept_apart((helper,)):
        raise ArithmeticError
    assert os.sched_getaffinity(0) == before


def test_a_second_run_is_not_placed(helper):
    with affinity.kept_apart((helper,)):
        first = os.sched_getaffinity(helper)
        seen = []

        def second():
            with affinity.kept_apart((helper,)):
                seen.append(os.sched_getaffinity(helper))

        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
        assert seen == [first]


def test_nothing_is_placed_with_more_helpers_than_processors(helper):
    before = os.sched_getaffinity(0)
    with affinity.kept_apart((helper,) * len(before)):
        assert os.sched_getaffinity(0) == before


def test_a_refusal_of_the_system_leaves_everything_as_it_is(helper, monkeypatch):
    def refuse(number, processors):
        raise PermissionError

    before = os.sched_getaffinity(0)
    monkeypatch.setattr(os, "sched_setaffinity", refuse)
    with affinity.kept_apart((helper,)):
        assert os.sched_getaffinity(0) == before


def test_waiting_ends_with_a_change_or_after_so_many_looks():
    board = np.zeros(2, np.int64)
    until_changed(board, 1, 0, 10, 10)  # returns although nothing changes
    thread = threading.Thread(target=until_changed, args=(board, 1, 0, 1 << 40, 1))
    thread.start()
    board[0] = 1  # not the place it looks at
    thread.join(timeout=0.05)
    assert thread.is_alive()
    board[1] = 1
    thread.join(timeout=30)
    assert not thread.is_alive()

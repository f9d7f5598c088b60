"""Reading ahead: the order of the items, a bound, errors where they belong."""

import threading

import pytest

from npusim.environment import NUM_THREADS, thread_count
from npusim.runtime.ahead import read_ahead


@pytest.fixture(params=[1, 2, 5])
def threads(request, monkeypatch):
    monkeypatch.setenv(NUM_THREADS.name, str(request.param))
    thread_count.cache_clear()
    yield request.param
    thread_count.cache_clear()


def test_items_come_in_order_with_what_was_read(threads):
    slow = threading.Event()

    def read(number):
        if number == 0:
            slow.wait(0.05)  # the others are done before it
        return number * number

    found = [(item, get()) for item, get in read_ahead(read, range(20))]
    assert found == [(n, n * n) for n in range(20)]


def test_an_error_is_raised_where_its_item_is_asked_for(threads):
    def read(number):
        return 6 // number

    results = []
    for item, get in read_ahead(read, [3, 0, 2]):
        try:
            results.append(get())
        except ZeroDivisionError:
            results.append(f"item {item}")
    assert results == [2, "item 0", 3]


def test_only_a_few_items_are_read_before_their_time(threads):
    asked = []
    reading = read_ahead(asked.append, range(100))
    for taken, (_, get) in enumerate(reading, start=1):
        get()
        assert len(asked) <= taken + threads
        if taken == 10:
            reading.close()
    read = len(asked)
    assert 10 <= read <= 10 + threads
    assert not [t for t in threading.enumerate() if t.name.startswith("npusim-reading")]


def test_other_threads_read(threads):
    names = {get() for _, get in read_ahead(lambda _: threading.current_thread().name, range(40))}
    here = threading.current_thread().name
    assert names == {here} if threads == 1 else here not in names

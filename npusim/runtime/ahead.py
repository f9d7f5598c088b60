"""Reading ahead: files are decoded in other threads while samples before them run."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from npusim.environment import thread_count

Item = TypeVar("Item")
Result = TypeVar("Result")


def read_ahead(
    read: Callable[[Item], Result], items: Iterable[Item]
) -> Generator[tuple[Item, Callable[[], Result]]]:
    """Yield every item, in order, with a function that returns ``read(item)`` or raises its error.

    As many items as a run has threads are read before they are asked for, so ``read`` has to be
    able to run several times at once; with one thread nothing is read before its time. Close the
    generator to read no more.
    """
    count = thread_count()
    if count == 1:
        for item in items:
            yield item, partial(read, item)
        return
    waiting: deque[tuple[Item, Future[Result]]] = deque()
    with ThreadPoolExecutor(count, thread_name_prefix="npusim-reading") as pool:
        try:
            for item in items:
                waiting.append((item, pool.submit(read, item)))
                if len(waiting) > count:
                    first, future = waiting.popleft()
                    yield first, future.result
            while waiting:
                first, future = waiting.popleft()
                yield first, future.result
        finally:
            for _, future in waiting:
                future.cancel()

"""``npusim warmup``."""

import time

from npusim.cli import common
from npusim.kernels import _jit
from npusim.runtime import isa
from npusim.runtime.bindings import load_bindings

NAME = "warmup"


def command(as_json: common.JsonOption = False) -> None:
    """Compile every kernel for this processor now, so that no later start has to wait."""
    begin = time.perf_counter()
    shown = common.console(as_json)
    load_bindings()
    names = _jit.kernel_names()
    with common.progress_bar(shown) as bar:
        task = bar.add_task("compiling", total=len(names))
        for name in _jit.compile_all():
            bar.update(task, description=f"compiling {name}")
            bar.advance(task)
    seconds = round(time.perf_counter() - begin, 1)
    if as_json:
        common.print_json({"kernels": list(names), "isa": isa.selected(), "seconds": seconds})
        return
    shown.print(f"{len(names)} kernels are ready for {isa.selected()} ({seconds} s).")

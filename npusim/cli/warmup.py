"""``npusim warmup``."""

import time

import typer

from npusim.cli import common
from npusim.kernels import _jit
from npusim.runtime import isa
from npusim.runtime.bindings import load_bindings

NAME = "warmup"
INTERRUPTED = 130


def command(as_json: common.JsonOption = False) -> None:
    """Compile every kernel for this processor now, so that no later start has to wait."""
    begin = time.perf_counter()
    shown = common.console(as_json)
    load_bindings()
    names = _jit.kernel_names()
    ready, interrupted = names, False
    with common.progress_bar(shown) as bar:
        task = bar.add_task("compiling", total=len(names))
        try:
            for done, name in enumerate(_jit.compile_all()):
                bar.update(task, description=f"compiling {name}", completed=done)
        except KeyboardInterrupt:
            ready, interrupted = tuple(filter(_jit.is_compiled, names)), True
    seconds = round(time.perf_counter() - begin, 1)
    if as_json:
        common.print_json({"kernels": list(ready), "isa": isa.selected(), "seconds": seconds})
    elif not interrupted:
        shown.print(f"{len(names)} kernels are ready for {isa.selected()} ({seconds} s).")
    if interrupted:
        count = f"{len(ready)} of {len(names)} kernels are ready"
        shown.print(f"interrupted: {count}; the same command goes on with the others")
        raise typer.Exit(INTERRUPTED)

"""The runtime half: a built model ready to run.

What estimates and writes pages is imported when it is asked for: running needs none of it.
"""

import time
from contextlib import nullcontext
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from npusim import environment
from npusim.analysis.dump import LayerDump, options_from_environment
from npusim.errors import ConfigError, NpusimError
from npusim.explain import see
from npusim.ir.graph import Graph
from npusim.ir.text import quant_text
from npusim.rknn.log import Log
from npusim.rknn.user_inputs import parse_feeds
from npusim.runtime.program import Program

if TYPE_CHECKING:
    from npusim.perfmodel.estimate import Estimate
    from npusim.report.eval_perf import Era


class Simulation:
    """A lowered graph bound to kernels, with the toolkit's view of inputs and outputs.

    Parameters
    ----------
    graph : Graph
        Lowered graph.
    log : Log
    async_mode : bool
        ``infer`` returns the result of the call before; the first call its own.
    board : bool
        A board was asked for: reports take the board's layout.
    perf_debug : bool
        List all layers in the board's layout.
    transport : str
        How the caller reaches the board (``npusim.perfmodel.transport``); empty: nobody said.
    """

    def __init__(
        self,
        graph: Graph,
        log: Log,
        *,
        async_mode: bool = False,
        board: bool = False,
        perf_debug: bool = False,
        transport: str = "",
    ) -> None:
        begin = time.perf_counter()
        self.graph = graph
        self._log = log
        self._async_mode = async_mode
        self._board = board
        self._perf_debug = perf_debug
        self._transport = transport
        self._last: tuple[int, list[NDArray[np.float32]]] | None = None
        self._calls = 0
        self.program = Program(graph)
        self._warm_up()
        log.info(
            f"{len(graph.nodes)} layers prepared and kernels compiled in "
            f"{time.perf_counter() - begin:.2f} s on this computer"
        )
        for kind, names in (("input", graph.inputs), ("output", graph.outputs)):
            for i, name in enumerate(names):
                spec = graph.spec(name)
                quant = f" ({quant_text(spec.quant)})" if quant_text(spec.quant) else ""
                log.info(f"{kind} {i}: {name!r} {list(spec.shape)} {spec.dtype.value}{quant}")
        if graph.tail is not None:
            done = ", ".join(f"{layer.name} ({layer.op})" for layer in graph.tail.layers)
            log.info(f"the CPU runs, behind the NPU: {done}; inference returns what they give")

    @cached_property
    def estimate(self) -> "Estimate":
        """Return the predicted cost; it does not depend on this computer."""
        from npusim.api.pricing import estimate
        from npusim.report.eval_perf import SIMULATOR_CLOCK_MHZ

        return estimate(self.program, clock_mhz=None if self._board else SIMULATOR_CLOCK_MHZ)

    @property
    def is_float(self) -> bool:
        """Tell whether the model computes in float16."""
        return all(self.graph.spec(name).dtype.is_float for name in self.graph.inputs)

    def perf(self, *, statistics: bool = False) -> tuple[dict[str, Any], str]:
        """Return eval_perf's dictionary and table; a board's when a board was asked for."""
        from npusim.report import eval_perf

        if self.estimate.note:
            self._log.once(f"eval_perf: {self.estimate.note} {see('no-float-cores')}")
        if self._board:
            debug = self._perf_debug
            result = eval_perf.board_result(self.estimate, perf_debug=debug)
            text = eval_perf.board_text(self.estimate, perf_debug=debug, statistics=statistics)
            return result, "\n".join((text, *self._beside(), *self._guessed()))
        era = _era()
        text = eval_perf.simulator_text(self.estimate, era, statistics=statistics)
        result = eval_perf.simulator_result(self.estimate, era)
        return result, "\n".join((text, *self._guessed()))

    def _guessed(self) -> list[str]:
        """Return the line that names the chip's guessed constants, when it has any."""
        from npusim.perfmodel.guesses import guesses_line

        line = guesses_line(self.estimate.setting.machine, self.estimate.guesses)
        return [line] if line else []

    def _beside(self) -> list[str]:
        """Return the lines about what a call costs beside the chip's time."""
        if not self._transport:
            return []
        from npusim.perfmodel.transport import transfer
        from npusim.report.perf_transport import transfer_lines

        return transfer_lines(transfer(self.estimate, self._transport))

    def write_page(self, path: Any) -> None:
        """Write a page of the estimate, when a path is given."""
        from npusim.report.page.contents import Contents
        from npusim.rknn.html_page import HtmlPage
        from npusim.rknn.state import source_of

        HtmlPage(path, self._log, source_of(self.graph)).write(
            lambda: Contents(
                network=self.program.graph,
                model=self.graph.source.path or self.graph.name,
                estimate=self.estimate,
            )
        )

    def memory(self) -> tuple[dict[str, dict[str, int]], str]:
        """Return eval_memory's dictionary and table."""
        from npusim.report.eval_memory import memory_result, memory_text

        use = self.estimate.memory
        model_bytes = sum(value.nbytes for value in self.graph.constants.values())
        return memory_result(use), memory_text(use, model_bytes)

    def infer(
        self, inputs: Any, *, data_type: Any, data_format: Any, pass_through: Any
    ) -> tuple[int, list[NDArray[np.float32]]]:
        """Return (frame number, outputs in the model's order)."""
        feeds, direct = parse_feeds(
            inputs,
            self.graph,
            data_type=data_type,
            data_format=data_format,
            pass_through=pass_through,
            once=self._log.once,
        )
        options = options_from_environment()
        dump = LayerDump(self.program, Path.cwd(), options) if options else None
        observe = dump.observe if dump else None
        with dump or nullcontext():
            begin = time.perf_counter()
            found = self.program.run(feeds, pass_through=direct, observe=observe)
            host_ms = (time.perf_counter() - begin) * 1e3
            index = dump.close(found) if dump else None
        if dump:
            self._log.info(f"layer dump: {index}")
            if dump.overwritten:
                self._log.warning(f"{dump.overwritten} files of an earlier layer dump replaced")
        if self._log.verbose:
            self._log.info(
                f"inference took {host_ms:.3f} ms on this computer; the simulated NPU needs "
                f"{self.estimate.total_time_us:.0f} us (see eval_perf)"
            )
        self._calls += 1
        result = self._calls, [found[name] for name in self.graph.results]
        previous, self._last = self._last, result
        return previous if self._async_mode and previous else result

    def _warm_up(self) -> None:
        """Run once on zeros, so that kernels are compiled here and not in the first inference."""
        feeds = {}
        for name in self.graph.inputs:
            spec = self.graph.spec(name)
            shape = spec.shape
            if len(shape) == 4:  # pixels lie in memory as they will come: N, H, W, C
                n, c, h, w = shape
                feeds[name] = np.zeros((n, h, w, c), spec.dtype.numpy).transpose(0, 3, 1, 2)
            else:
                feeds[name] = np.zeros(shape, spec.dtype.numpy)
        try:
            self.program.run_stored(feeds)
        except NpusimError as error:
            self._log.debug(f"the run on zeros stopped: {error}")


def _era() -> "Era":
    """Return the release whose layouts are printed, from NPUSIM_COMPAT."""
    from npusim.report.eval_perf import Era

    wanted = environment.COMPAT.read() or Era.FROM_1_7_1.value
    for era in Era:
        if era.value == wanted:
            return era
    known = ", ".join(era.value for era in Era)
    raise ConfigError(f"NPUSIM_COMPAT={wanted}", rule=f"one of {known}")

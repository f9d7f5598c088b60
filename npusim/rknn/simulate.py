"""The runtime half: a built model ready to run."""

import time
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npusim.analysis.dump import LayerDump, options_from_environment
from npusim.errors import NpusimError
from npusim.ir.graph import Graph
from npusim.ir.text import quant_text
from npusim.perfmodel.estimate import Estimate, estimate
from npusim.rknn.log import Log
from npusim.rknn.user_inputs import parse_feeds
from npusim.runtime.program import Program


class Simulation:
    """A lowered graph bound to kernels, with the toolkit's view of inputs and outputs.

    Parameters
    ----------
    graph : Graph
        Lowered graph.
    log : Log
    async_mode : bool
        ``infer`` returns the result of the call before; the first call its own.
    """

    def __init__(self, graph: Graph, log: Log, *, async_mode: bool = False) -> None:
        begin = time.perf_counter()
        self.graph = graph
        self._log = log
        self._async_mode = async_mode
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

    @cached_property
    def estimate(self) -> Estimate:
        """Return the predicted cost; it does not depend on this computer."""
        return estimate(self.graph)

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
        begin = time.perf_counter()
        found = self.program.run(feeds, pass_through=direct, observe=dump.observe if dump else None)
        host_ms = (time.perf_counter() - begin) * 1e3
        if dump:
            index = dump.close()
            self._log.info(f"layer dump: {index}")
            if dump.overwritten:
                self._log.warning(f"{dump.overwritten} files of an earlier layer dump replaced")
        if self._log.verbose:
            self._log.info(
                f"inference took {host_ms:.3f} ms on this computer; the simulated NPU needs "
                f"{self.estimate.total_time_us:.0f} us (see eval_perf)"
            )
        self._calls += 1
        result = self._calls, [found[name] for name in self.graph.outputs]
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

"""What an RKNN object remembers between calls."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from npusim.errors import ConfigError, NpusimError
from npusim.explain import see
from npusim.importers.common.two_files import NO_WEIGHTS
from npusim.ir.graph import Graph
from npusim.reading.files import is_path
from npusim.rknn.log import Log
from npusim.rknn.options import Options
from npusim.runtime.forks import ForkSafeLock

if TYPE_CHECKING:
    from npusim.rknn.simulate import Simulation

OK, FAILED = 0, -1


def failed() -> int:
    """Return what a failed call returns that has 0 for success."""
    return FAILED


def nothing() -> Any:
    """Return what other failed calls return."""
    return None


def as_path(value: Any, what: str) -> Path:
    """Return a path argument as a Path.

    Raises
    ------
    ConfigError
        When it is no path or empty.
    """
    if not is_path(value):
        raise ConfigError(f"{what} {value!r}", rule="the path of a file")
    return Path(value)


def source_of(graph: Graph) -> list[tuple[str, Path]]:
    """Return the file that a graph came from, with what it is; none for a graph without one."""
    return [("the source model", Path(graph.source.path))] if graph.source.path else []


def named_files(what: str, value: Any) -> list[tuple[str, Path]]:
    """Return the files that an argument names, a path or several, with what they are."""
    values = value if isinstance(value, list | tuple) else [value]
    return [(what, Path(one)) for one in values if is_path(one)]


class RknnState:
    """Configuration, the source model, the built model and its simulation."""

    def __init__(
        self,
        verbose: bool = False,
        verbose_file: str | os.PathLike[str] | None = None,
        target: str | None = None,
        device_id: str | None = None,
        perf_debug: bool = False,
        **unknown: Any,
    ) -> None:
        self._lock = ForkSafeLock()
        self._log = Log(verbose=bool(verbose), file=verbose_file)
        self._default_target = target
        self._default_perf_debug = perf_debug
        self._options = Options()
        self._config_error: NpusimError | None = None
        self._source: Graph | None = None
        self._built: Graph | None = None
        self._targets: tuple[str, ...] = ()
        self._simulation: Simulation | None = None
        for name in unknown:
            self._log.once(f"RKNN: there is no parameter {name!r}; it is ignored")
        if device_id is not None:
            self._log.debug(f"device_id {device_id!r} is not used by the simulator")

    def __reduce__(self) -> Any:
        raise ConfigError(
            f"an object of {type(self).__name__} cannot be pickled or copied",
            rule="it holds compiled kernels and a log of this process",
            remedy="export_rknn here and load_rknn and init_runtime there; or make the object in "
            "the process that uses it",
        )

    def _start(self) -> None:
        """Forget the model before another one is loaded."""
        self._refuse_bad_config()
        self._log.new_model()
        self._source = self._built = self._simulation = None

    def _loaded(self, graph: Graph, model: Any) -> None:
        """Keep an imported model and say what it is."""
        self._source = graph
        kind = ", already quantized" if graph.is_quantized else ""
        inputs = ", ".join(graph.inputs)
        self._log.info(f"{model}: {len(graph.nodes)} layers{kind}, inputs {inputs}")
        for note in graph.notes:
            say = self._log.warning if note.startswith(NO_WEIGHTS) else self._log.info
            say(note)

    def _refuse_bad_config(self) -> None:
        if self._config_error is not None:
            error = self._config_error
            raise ConfigError(
                f"config failed before: {error.what}",
                where=error.where,
                rule=error.rule,
                remedy=error.remedy,
            )

    def _running(self) -> "Simulation":
        if self._simulation is None:
            raise ConfigError(
                "the runtime is not initialised", rule="init_runtime must have returned 0"
            )
        return self._simulation

    def _export(self, path: Any) -> None:
        from npusim.api.overwriting import refuse_overwriting
        from npusim.ir import archive

        if self._built is None:
            raise ConfigError("there is no model to export", rule="build must have returned 0")
        path = as_path(path, "export_path")
        refuse_overwriting(source_of(self._source or self._built), [("export_path", path)])
        archive.save(self._built, path, meta={"target_platform": list(self._targets)})
        self._log.info(f"{path}: {path.stat().st_size} bytes")
        self._log.once(
            f"{path}: {archive.OWN_FILE[0].lower()}{archive.OWN_FILE[1:]} {see('own-container')}"
        )

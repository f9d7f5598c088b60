"""The two decorators through which everything in this folder is compiled.

``primitive``: a helper that other kernels call. Never cached alone; compiled into its callers.
``kernel(signature, ...)``: an entry point with explicit types, compiled at its first call (or by
``compile_all``), cached on disk.

Numba keys a cached function on the content of *its own* file only: edit a primitive in another
file, and cached callers keep the old arithmetic for ever. Here the stamp of every cache file is
salted with a digest of all sources in this folder, so any change recompiles.
"""

import hashlib
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from llvmlite import binding
from numba import config, njit  # noqa: TID251 (the one place that may)
from numba.core.dispatcher import Dispatcher
from numba.core.errors import NumbaError

FOLDER = Path(__file__).resolve().parent
_OPTIONS: dict[str, Any] = {"nogil": True, "fastmath": False, "error_model": "numpy"}
_KERNELS: dict[str, "Kernel"] = {}
_COMPILING = threading.RLock()
_UNCACHED: list[Exception] = []  # why kernels of this process could not be cached
ON_COMPILED: list[Callable[[str, float], None]] = []  # told of kernels not in the cache: name, s


@cache
def sources_digest() -> str:
    """Return a digest of every source file in this folder."""
    digest = hashlib.sha256()
    for path in sorted(FOLDER.rglob("*.py")):
        digest.update(str(path.relative_to(FOLDER)).encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def primitive(function: Callable[..., Any]) -> Dispatcher:
    """Compile a helper for use inside kernels; types are inferred at each use."""
    compiled: Dispatcher = njit(function, **_OPTIONS)
    return compiled


class Kernel:
    """An entry point: compiled when first called, then a plain dispatcher.

    Attributes
    ----------
    py_func : callable
        The kernel's own Python text, for tests.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        signatures: tuple[str, ...],
        features: tuple[str, ...] = (),
    ) -> None:
        self.py_func = function
        self.signatures = signatures
        self.features = features
        self.name = f"{function.__module__.rpartition('.')[2]}.{function.__name__}"
        self.__doc__ = function.__doc__
        self.__name__ = function.__name__
        self._dispatcher: Dispatcher | None = None

    @property
    def is_compiled(self) -> bool:
        """Tell whether machine code is loaded."""
        return self._dispatcher is not None

    @property
    def is_available(self) -> bool:
        """Tell whether code for this processor may use the instructions the kernel needs."""
        return target_has(self.features)

    def compile(self) -> Dispatcher:
        """Compile, or load from the cache, every signature; return the dispatcher."""
        if not self.is_available:  # LLVM would end the process
            raise RuntimeError(f"kernel {self.name} needs {', '.join(self.features)}")
        with _COMPILING:
            if self._dispatcher is None:
                begin = time.perf_counter()
                self._dispatcher = self._compiled()
                if not self._dispatcher.stats.cache_hits:
                    for tell in ON_COMPILED:
                        tell(self.name, time.perf_counter() - begin)
            return self._dispatcher

    def _compiled(self) -> Dispatcher:
        dispatcher = njit(self.py_func, **_OPTIONS)
        try:
            _enable_salted_cache(dispatcher)
            return self._with_signatures(dispatcher)
        except NumbaError:
            raise
        except Exception as error:  # no place for the cache, a full disk, a damaged cache file
            _warn_no_cache(error)
        return self._with_signatures(njit(self.py_func, **_OPTIONS))

    def _with_signatures(self, dispatcher: Dispatcher) -> Dispatcher:
        for signature in self.signatures:
            dispatcher.compile(signature)
        dispatcher.disable_compile()
        return dispatcher

    def __call__(self, *args: Any) -> Any:
        """Run the kernel."""
        return (self._dispatcher or self.compile())(*args)


@cache
def target_features() -> frozenset[str]:
    """Return LLVM's names of the features of the processor that Numba compiles for."""
    name, features = (getattr(config, key) for key in ("CPU_NAME", "CPU_FEATURES"))
    if name or features:  # the user asked for other code than the host's
        chosen = (features or "").split(",")
        return frozenset(feature[1:] for feature in chosen if feature.startswith("+"))
    try:
        host = binding.get_host_cpu_features()
    except RuntimeError:  # LLVM cannot tell on this system
        return frozenset()
    return frozenset(name for name, present in host.items() if present)


def target_has(features: tuple[str, ...]) -> bool:
    """Tell whether Numba compiles for a processor with these LLVM features."""
    return target_features().issuperset(features)


def kernel(
    *signatures: str, features: tuple[str, ...] = ()
) -> Callable[[Callable[..., Any]], Kernel]:
    """Make the decorated function an entry point with the given Numba signatures.

    ``features`` are LLVM's names of the processor features it cannot do without.
    """

    def wrap(function: Callable[..., Any]) -> Kernel:
        found = Kernel(function, signatures, features)
        if found.name in _KERNELS:
            raise ValueError(f"kernel {found.name} is defined twice")
        _KERNELS[found.name] = found
        return found

    return wrap


def kernel_names() -> tuple[str, ...]:
    """Return the kernels of the modules imported so far that this processor can run."""
    return tuple(name for name, found in sorted(_KERNELS.items()) if found.is_available)


def compile_all() -> Iterator[str]:
    """Compile every kernel of the modules imported so far; yield the name before each."""
    for name in kernel_names():
        yield name
        _KERNELS[name].compile()


def _enable_salted_cache(dispatcher: Any) -> None:
    dispatcher.enable_caching()
    # Private to Numba: hence the pinned range in pyproject.toml and tests/kernels/test_jit.py.
    cache_file = dispatcher._cache._cache_file
    cache_file._source_stamp = (cache_file._source_stamp, sources_digest())


def _warn_no_cache(error: Exception) -> None:
    """Warn, the first time only, that compiled code will not outlive this process."""
    if not _UNCACHED:
        warnings.warn(
            f"compiled kernels are not kept between runs ({type(error).__name__}: {error}); "
            "set NUMBA_CACHE_DIR to a writable folder",
            RuntimeWarning,
            stacklevel=2,
        )
    _UNCACHED.append(error)

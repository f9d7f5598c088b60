"""The two decorators through which everything in this folder is compiled.

``primitive``: a helper that other kernels call. Never cached alone; compiled into its callers.
``kernel(signature, ...)``: an entry point with explicit types, compiled at its first call (or by
``compile_all``), kept on disk (``_cache``).
"""

import os
import threading
import time
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, cast

from llvmlite import binding
from numba import config, njit  # noqa: TID251 (the one place that may)
from numba.core.dispatcher import Dispatcher

from npusim.kernels._cache import KernelCache
from npusim.kernels._interrupts import interrupted_afterwards

_OPTIONS: dict[str, Any] = {"nogil": True, "fastmath": False, "error_model": "numpy"}
_KERNELS: dict[str, "Kernel"] = {}
_COMPILING = threading.RLock()
if hasattr(os, "register_at_fork"):  # a child of a process that compiles would wait for ever
    os.register_at_fork(
        before=_COMPILING.acquire,
        after_in_parent=_COMPILING.release,
        after_in_child=_COMPILING.release,
    )
# Told of kernels that were compiled: name, seconds, whether the next start finds the code.
ON_COMPILED: list[Callable[[str, float, bool], None]] = []


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
                with interrupted_afterwards():
                    self._dispatcher = self._compiled()
            return self._dispatcher

    def _compiled(self) -> Dispatcher:
        begin = time.perf_counter()
        dispatcher: Any = njit(self.py_func, **_OPTIONS)
        machine = dispatcher.targetctx.codegen().magic_tuple()
        # Private to Numba, as what _cache names.
        kept = dispatcher._cache = KernelCache(self.name, self.py_func, self.signatures, machine)
        for signature in self.signatures:
            dispatcher.compile(signature)
        dispatcher.disable_compile()
        if not kept.is_complete:
            is_kept = kept.write()
            for tell in ON_COMPILED:
                tell(self.name, time.perf_counter() - begin, is_kept)
        kept.flush()
        return cast("Dispatcher", dispatcher)

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


def is_compiled(name: str) -> bool:
    """Tell whether a kernel's machine code is loaded."""
    return _KERNELS[name].is_compiled

"""The variables of the environment that npusim reads: each is named, explained and read here.

docs/environment.md lists them for users.
"""

import os
import threading
from functools import cache
from typing import NamedTuple

from npusim.errors import ConfigError


class Variable(NamedTuple):
    """A variable of the environment.

    Attributes
    ----------
    name : str
    values : str
        What it may be set to.
    meaning : str
    """

    name: str
    values: str
    meaning: str

    def read(self) -> str:
        """Return what it is set to, without surrounding spaces; nothing when it is not set."""
        return os.environ.get(self.name, "").strip()


MOST_THREADS = 1024
"""Of one run; where more are asked for, starting them takes longer than the run."""

NUM_THREADS = Variable(
    "NPUSIM_NUM_THREADS",
    f"1 to {MOST_THREADS}",
    "threads of one run; by default the processors that the process may use",
)
ISA = Variable(
    "NPUSIM_ISA",
    "`portable`, `neon`, `avx2`, `avx512vnni`, `amx`",
    "machine code of convolutions and tables, same bits; by default the fastest",
)
COMPAT = Variable(
    "NPUSIM_COMPAT",
    "`1.0`, `1.7`",
    "release whose layout the printed tables of the RKNN class have; by default 1.7",
)
MOVING_ALPHA = Variable(
    "NPUSIM_MOVING_ALPHA",
    "`old`, `new`",
    "which samples the RKNN class's `quantized_moving_alpha` weighs; by default the old ones",
)
PRECOMPILE = Variable(
    "NPUSIM_PRECOMPILE",
    "`copy`",
    "`export_rknn_precompile_model` writes the plain model instead of refusing",
)
TARGET = Variable(
    "NPUSIM_TARGET",
    "`strict`",
    "the RKNN class refuses a `target`, as it has no board, instead of simulating it",
)
VENDOR_LOGNAME = Variable(
    "NPUSIM_VENDOR_LOGNAME",
    "`1`",
    "the RKNN class gives its log of an error the name that the vendor's toolkit uses",
)
TRUST = Variable(
    "NPUSIM_TRUST",
    "`1`",
    "TorchScript files that another user owns are loaded, which runs the code in them",
)
ENGINE = Variable(
    "NPUSIM_ENGINE",
    "`npusim`, `onnxruntime`",
    "what runs a float network where no option says so; by default ONNX Runtime where it does",
)
RUNTIME_SECONDS = Variable(
    "NPUSIM_RUNTIME_SECONDS",
    "above 0",
    "how long another runtime (ONNX Runtime, LiteRT, ..) may take for one run; by default 3600",
)
MODELS = Variable(
    "NPUSIM_MODELS",
    "a folder",
    "where `tools/fetch_models.py` keeps models; by default the user's cache",
)
GOLDEN = Variable(
    "NPUSIM_GOLDEN",
    "a folder",
    "golden vectors of the tests; by default `../shared/golden` beside the checkout",
)
VARIABLES = (
    NUM_THREADS,
    ISA,
    COMPAT,
    MOVING_ALPHA,
    PRECOMPILE,
    TARGET,
    VENDOR_LOGNAME,
    TRUST,
    ENGINE,
    RUNTIME_SECONDS,
    MODELS,
    GOLDEN,
)


@cache
def thread_count() -> int:
    """Return how many threads a run uses, and how many samples a float runtime takes at a time.

    Raises
    ------
    ConfigError
        When ``NPUSIM_NUM_THREADS`` is not a positive integer, or above ``MOST_THREADS``.
    """
    text = NUM_THREADS.read()
    if not text:
        if hasattr(os, "sched_getaffinity"):  # not on macOS
            return len(os.sched_getaffinity(0))
        return os.cpu_count() or 1
    if not text.isdecimal() or not 1 <= int(text[:9]) <= MOST_THREADS:
        raise ConfigError(
            f"{NUM_THREADS.name} is {text!r}",
            rule=f"a whole number of threads, 1 to {MOST_THREADS}",
            remedy="unset it to use every processor",
        )
    return int(text)


def runtime_seconds() -> float:
    """Return how long another project's runtime may take for one run.

    Raises
    ------
    ConfigError
        When ``NPUSIM_RUNTIME_SECONDS`` is not a number above 0.
    """
    text = RUNTIME_SECONDS.read() or "3600"
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= threading.TIMEOUT_MAX:
        raise ConfigError(
            f"{RUNTIME_SECONDS.name} is {text!r}",
            rule="a number of seconds above 0",
            remedy="unset it to allow an hour",
        )
    return seconds

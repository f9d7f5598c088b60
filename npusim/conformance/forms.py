"""Number formats that recorded models are run in, and how close their results have to be."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npusim.errors import ConfigError
from npusim.host.runner import network_results
from npusim.ir.graph import Graph
from npusim.passes.pipeline import lower, optimize
from npusim.quantization.float16 import to_float16
from npusim.quantization.job import execute
from npusim.quantization.plan import Plan
from npusim.quantization.schemes import Scheme, scheme_named
from npusim.reference.evaluate import evaluate
from npusim.runtime.program import Program

Array = NDArray[Any]
FLOAT = "float"
RELATIVE, ABSOLUTE = 1e-4, 1e-5
LARGEST_F16 = 65504.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """How models are run, and what agrees.

    Attributes
    ----------
    name : str
        ``float``: the float evaluator, within 1e-4 of every number. ``f16``: compiled and run as
        the chip does it, within ``limit`` of the largest number of an output. ``u8``, ``i8``,
        ``i16``: the same, calibrated on the recorded inputs; a cosine of ``limit`` or more.
    """

    name: str
    limit: float

    @property
    def ties(self) -> float:
        """Return how far scores may be apart that come in either order."""
        return ABSOLUTE if self.name == FLOAT else 2e-3 if self.name == "f16" else 2e-2

    def results(self, graph: Graph, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Return the results of a network of any stage.

        Raises
        ------
        NpusimError
            When the format or the chip cannot do it.
        """
        if self.name == FLOAT:
            return network_results(graph, evaluate(graph, feeds), feeds)
        scheme = scheme_named(self.name)
        if scheme is Scheme.F16 or graph.is_quantized:
            ready = to_float16(optimize(graph))
        else:
            ready = execute(graph, Plan(scheme=scheme, dataset=[("recorded", feeds)]))
        return Program(lower(ready)).run(feeds, preprocessed=True)

    def gap(self, found: Array, wanted: Array) -> str:
        """Tell how two arrays of one shape differ; empty when they agree."""
        if self.name == FLOAT:
            if np.allclose(found, wanted, RELATIVE, ABSOLUTE, equal_nan=True):
                return ""
            return f"by up to {np.nanmax(np.abs(found.astype(np.float64) - wanted)):.3g}"
        found, wanted = _storable(found), _storable(wanted)
        if not np.array_equal(np.isnan(found), np.isnan(wanted)):
            return "in what is no number"
        found, wanted = np.nan_to_num(found), np.nan_to_num(wanted)
        if self.name == "f16":
            worst = float(np.abs(found - wanted).max(initial=0))
            size = float(np.abs(wanted).max(initial=0))
            return "" if worst <= self.limit * size + ABSOLUTE else f"by up to {worst:.3g}"
        lengths = float(np.linalg.norm(found) * np.linalg.norm(wanted))
        cosine = float(np.vdot(found, wanted)) / lengths if lengths else float(not wanted.any())
        return "" if cosine >= self.limit else f"cosine {cosine:.5f}"


def _storable(value: Array) -> Array:
    """Return numbers as float64, those beyond float16's range at its ends."""
    return np.clip(np.asarray(value, np.float64), -LARGEST_F16, LARGEST_F16)


FORMS: Mapping[str, Form] = {
    form.name: form
    for form in (
        Form(name=FLOAT, limit=RELATIVE),
        Form(name="f16", limit=5e-3),
        Form(name="u8", limit=0.98),
        Form(name="i8", limit=0.98),
        Form(name="i16", limit=0.999),
    )
}


def form_named(name: str) -> Form:
    """Return the form of a name.

    Raises
    ------
    ConfigError
        When there is none.
    """
    if name not in FORMS:
        raise ConfigError(f"recorded models cannot be run in {name!r}", rule=", ".join(FORMS))
    return FORMS[name]

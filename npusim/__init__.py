"""npusim: bit-exact simulation and performance estimation of the RK1808 / RK3399Pro NPU.

Names are loaded when first used: importing npusim compiles nothing and imports neither Numba nor
onnx. Functions check what they are given (``npusim.api.arguments``).
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    # files
    "load_model": "npusim.api.files",
    "save": "npusim.api.files",
    "export_onnx": "npusim.api.files",
    "read_input": "npusim.api.files",
    # from a float graph to a program
    "optimize": "npusim.passes.pipeline",
    "quantize": "npusim.api.quantizing",
    "float16": "npusim.api.quantizing",
    "equalize": "npusim.api.quantizing",
    "compile": "npusim.api.running",
    # what it costs, what it loses, what would help
    "estimate": "npusim.api.pricing",
    "compare": "npusim.analysis.compare",
    "analyze": "npusim.analysis.analyze",
    "evaluate": "npusim.api.measuring",
    "tune": "npusim.api.measuring",
    "record_program": "npusim.analysis.recording",
    "record_float": "npusim.analysis.recording",
    "record_source": "npusim.analysis.source",
    "read_dump": "npusim.analysis.dump_folder",
    # records
    "Graph": "npusim.ir.graph",
    "Preprocess": "npusim.ir.graph",
    "Program": "npusim.runtime.program",
    "Scheme": "npusim.quantization.schemes",
}
__all__ = ["__version__", *_HOMES]

if TYPE_CHECKING:
    from npusim.analysis.analyze import analyze as analyze
    from npusim.analysis.compare import compare as compare
    from npusim.analysis.dump_folder import read_dump as read_dump
    from npusim.analysis.recording import record_float as record_float
    from npusim.analysis.recording import record_program as record_program
    from npusim.analysis.source import record_source as record_source
    from npusim.api.files import export_onnx as export_onnx
    from npusim.api.files import load_model as load_model
    from npusim.api.files import read_input as read_input
    from npusim.api.files import save as save
    from npusim.api.measuring import evaluate as evaluate
    from npusim.api.measuring import tune as tune
    from npusim.api.pricing import estimate as estimate
    from npusim.api.quantizing import equalize as equalize
    from npusim.api.quantizing import float16 as float16
    from npusim.api.quantizing import quantize as quantize
    from npusim.api.running import compile as compile
    from npusim.ir.graph import Graph as Graph
    from npusim.ir.graph import Preprocess as Preprocess
    from npusim.passes.pipeline import optimize as optimize
    from npusim.quantization.schemes import Scheme as Scheme
    from npusim.runtime.program import Program as Program


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(import_module(_HOMES[name]), name)
        if not isinstance(value, type):
            from npusim.api.arguments import checked

            value = checked(value)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'npusim' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})

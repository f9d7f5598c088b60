"""The typed API: load, optimize, quantize, compile, estimate.

``npusim`` exports these names; the toolkit-compatible class in ``npusim.rknn`` and the command
line are thin layers over them.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from npusim.ir.graph import Graph
from npusim.passes.pipeline import lower, optimize
from npusim.quantization.algorithms import Algorithm
from npusim.quantization.equalize import Relu6
from npusim.quantization.float16 import to_float16
from npusim.quantization.job import Quantization
from npusim.quantization.schemes import Scheme, scheme_of
from npusim.runtime.program import Program

Feeds = Mapping[str, NDArray[Any]]


def load_model(
    path: str | Path,
    *,
    inputs: Sequence[str] | None = None,
    input_shapes: Mapping[str, Sequence[int]] | Sequence[Sequence[int]] | None = None,
    outputs: Sequence[str] | None = None,
) -> Graph:
    """Load a model file into a float graph, or a quantized one when the model is quantized.

    Parameters
    ----------
    path : path
        An ONNX, TensorFlow Lite or TorchScript file.
    inputs, outputs : sequence of str, optional
        Cut the model at these tensors.
    input_shapes : mapping or sequence, optional
        Shapes of inputs with dynamic axes, by name or in order, with the batch axis.

    Raises
    ------
    ModelImportError
        Naming the file and what is wrong with it; unsupported operators are listed all at once.
    """
    from npusim.importers import load

    return load(path, inputs=inputs, input_shapes=input_shapes, outputs=outputs)


def quantize(
    graph: Graph,
    dataset: str | Path | Iterable[tuple[str, Feeds]],
    *,
    scheme: Scheme | str = Scheme.U8,
    layers: Mapping[str, Scheme | str] | None = None,
    algorithm: Algorithm | str = "normal",
    optimization_level: int = 3,
    equalize: Relu6 | str | None = None,
    bias_correction: bool = False,
    engine: str = "auto",
    progress: Callable[[int, str], None] | None = None,
) -> Graph:
    """Return the quantized graph of a float graph.

    Parameters
    ----------
    graph : Graph
        Float graph from ``load_model``.
    dataset : path or iterable of (label, feeds)
        A dataset file (one sample a line) or preprocessed float32 samples.
    scheme : Scheme or str
        Any spelling of the toolkit, for example ``"asymmetric_quantized-u8"`` or ``"u8"``.
    layers : mapping, optional
        Hybrid quantization: layer name or layer id -> its own scheme.
    algorithm : Algorithm or str
        Calibration statistic: normal, moving_average, kl_divergence or mmse.
    optimization_level : int
        0..3, as in RKNN-Toolkit.
    equalize : Relu6 or str, optional
        Equalize weights across layers: "keep", "restrict" or "replace" says what to do with relu6.
        This changes the float network before it is quantized; see
        ``npusim.quantization.equalize``. What was done is in the graph's notes.
    bias_correction : bool
        Correct biases for the mean error of the weights; see
        ``npusim.quantization.bias_correction``.
    engine : {"auto", "onnxruntime", "npusim"}
        Float engine of the calibration; the one that ran is in the graph's notes.
    progress : callable, optional
        Called with (samples done, label of the last).
    """
    return Quantization(
        graph,
        scheme=scheme_of(scheme),
        layers={name: scheme_of(value) for name, value in (layers or {}).items()},
        algorithm=Algorithm(name=algorithm) if isinstance(algorithm, str) else algorithm,
        level=optimization_level,
        equalized=Relu6(equalize) if isinstance(equalize, str) else equalize,
        corrected=bias_correction,
    ).run(dataset, engine=engine, progress=progress)


def float16(graph: Graph, *, optimization_level: int = 3) -> Graph:
    """Return the graph ready to compile without calibration (``do_quantization=False``).

    A float model becomes float16. A model that came quantized keeps its integers and parameters;
    only what is real in it becomes float16.
    """
    return to_float16(optimize(graph, level=optimization_level))


def compile(
    graph: Graph,
    *,
    target: str | None = None,
    optimization_level: int = 3,
    progress: Callable[[int, int, str], None] | None = None,
) -> Program:
    """Assign engines and bind kernels.

    Parameters
    ----------
    graph : Graph
        Quantized or float16 graph.
    target : str, optional
        ``"rk1808"`` (default) or ``"rk3399pro"``; both have the same arithmetic.
    optimization_level : int
        0..3.
    progress : callable, optional
        Called with (layers done, layers, layer name).
    """
    if target is not None:
        graph = graph.copy(target=target)
    return Program(lower(graph, level=optimization_level), progress=progress)

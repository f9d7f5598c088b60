"""Models and inputs from files, and models into files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from npusim.api.stages import is_quantized
from npusim.errors import ConfigError
from npusim.importers.formats import FORMATS, OWN, load
from npusim.ir import archive
from npusim.ir.graph import Graph, Preprocess


def load_model(
    path: str | Path,
    *,
    weights: str | Path | bool | None = None,
    inputs: Sequence[str] | None = None,
    input_shapes: Mapping[str, Sequence[int]] | Sequence[Sequence[int]] | None = None,
    outputs: Sequence[str] | None = None,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    reorder: Sequence[int] | None = None,
    trust: bool = False,
) -> Graph:
    """Load a model file: a float graph, a quantized one, or what ``save`` stored.

    Parameters
    ----------
    path : path
        A file of a format in docs/importing.md, or one that ``save``, ``npusim quantize`` or
        ``RKNN.export_rknn`` wrote.
    weights : path or False, optional
        The second file of a Caffe, Darknet or MXNet model. None: the file of the same stem (MXNet:
        of the highest epoch) beside the network, which a note names. False: structure only, with
        seeded pseudo-random weights.
    inputs, outputs : sequence of str, optional
        Cut the model at these tensors.
    input_shapes : mapping or sequence, optional
        Shapes of inputs with dynamic axes, by name or in order, with the batch axis.
    mean, std : float or sequence of float, optional
        What is subtracted from pixels 0..255 and what they are divided by: one number for all
        channels or one each, for every input that is a picture (four axes).
    reorder : sequence of int, optional
        The source channel of each channel; (2, 1, 0) for networks that want B, G, R.
    trust : bool
        Also load a TorchScript file that another user owns: loading one runs the code in it.

    Raises
    ------
    ConfigError
        When mean, std or reorder differ from what a stored model holds, or cannot be.
    ModelImportError
        Naming the file and what is wrong with it; unsupported operators are listed all at once.
    ContainerError
        When a stored model is damaged, foreign or newer, or is to be cut.
    """
    graph = load(
        path,
        weights=weights,
        inputs=inputs,
        input_shapes=input_shapes,
        outputs=outputs,
        trust=trust,
    )
    given = {"mean": mean, "std": std, "reorder": reorder}
    known = {name: _numbers(value) for name, value in given.items() if value is not None}
    return _prepared(graph, known) if known else graph


def _numbers(value: float | Sequence[float]) -> tuple[float, ...]:
    return tuple(value) if isinstance(value, Sequence) else (value,)


def _prepared(graph: Graph, given: Mapping[str, tuple[float, ...]]) -> Graph:
    """Return the graph whose pictures are prepared as given; a stored one must agree."""
    if not is_quantized(graph):
        pictures = [name for name in graph.inputs if len(graph.spec(name).shape) == 4]
        how = Preprocess(**given)  # type: ignore[arg-type]
        return graph.copy(preprocess=dict.fromkeys(pictures, how))
    for name, how in graph.preprocess.items():
        for word, numbers in given.items():
            stored = getattr(how, word)
            one = 1 in (len(stored), len(numbers))  # one number stands for all channels
            if stored != numbers and not (one and set(stored) == set(numbers)):
                raise ConfigError(
                    f"{word} {numbers} given, {stored or 'nothing'} stored",
                    where=f"{graph.source.path or graph.name}, input {name!r}",
                    rule="a quantized model keeps the preprocessing it was calibrated with",
                    remedy="leave it out, or quantize the source model with it",
                )
    return graph


def save(graph: Graph, path: str | Path) -> Path:
    """Store a graph at any stage in npusim's model file, completely or not at all.

    Parameters
    ----------
    graph : Graph
    path : path
        An existing file is replaced, unless the graph came from it. The usual suffixes are .npusim
        and .rknn.

    Returns
    -------
    Path
        The file; ``load_model`` opens it.

    Raises
    ------
    ConfigError
        When the suffix belongs to another format, or the graph came from this file.
    ContainerError
        When the file cannot be written.
    """
    path = Path(path)
    for form in FORMATS:
        if form.name != OWN and path.suffix.lower() in form.suffixes:
            raise ConfigError(
                f"a stored model would be taken for {form.noun}",
                where=str(path),
                rule=f"npusim's own files end in {' or '.join(archive.SUFFIXES)}",
                remedy="to write ONNX: npusim.export_onnx",
            )
    archive.save(graph, path)
    return path


def export_onnx(graph: Graph, path: str | Path) -> Path:
    """Write a graph at any stage as ONNX, opset 12, completely or not at all.

    A float graph becomes a float model. In a quantized one every tensor of codes goes through a
    pair of QuantizeLinear and DequantizeLinear with the graph's own scale and zero point (8 bit
    dynamic fixed point: INT8, scale ``2^-fl``; 16 bits: rounded and cut by ordinary operators),
    constants are stored as their codes, and float16 parts are float32. It computes what the codes
    mean: the chip's rounding differs by a step here and there. Inputs take real values after mean,
    std and channel order, which stand in the model's metadata.

    Parameters
    ----------
    graph : Graph
    path : path
        An existing file is replaced, unless the graph came from it.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    ConfigError
        When the graph came from this file.
    UnsupportedOpError
        When layers have no ONNX form, or an activation has parameters per channel.
    ContainerError
        When the file cannot be written.
    """
    from npusim.exporters.onnx import to_onnx, write_onnx
    from npusim.exporters.onnx_qdq import needs_pairs, to_qdq

    write_onnx(to_qdq(graph) if needs_pairs(graph) else to_onnx(graph), graph, path)
    return Path(path)


def read_input(graph: Graph, files: str | Path | Sequence[str | Path]) -> dict[str, NDArray[Any]]:
    """Read one sample as ``Program.run(..., preprocessed=True)`` and ``analyze`` take it.

    Parameters
    ----------
    graph : Graph
        Says shapes, order and preprocessing of its inputs.
    files : path, or sequence of paths
        One image (jpg, png, bmp: stretched to the input's size) or npy array (N, H, W, C, or
        H, W, C for maps) per input, in order.

    Returns
    -------
    dict
        Input name -> float32 array in the graph's shape (N, C, H, W) after reorder, mean and std;
        integers for inputs that are integers.

    Raises
    ------
    DatasetError
        Naming the file.
    """
    from npusim.quantization.dataset import load_sample

    return load_sample([files] if isinstance(files, str | Path) else files, graph)

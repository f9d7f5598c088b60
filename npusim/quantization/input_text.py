"""What goes into a network's input, in one line: said whenever samples are read.

Whoever reads samples says it on the logger ``npusim``, level INFO: the command line prints it, the
RKNN class logs it, others see it where they show that level.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from npusim.ir.graph import CROP, LETTERBOX, STRETCH, Graph, Preprocess
from npusim.ir.quant import Float
from npusim.ir.tensor import TensorSpec

NPY = ".npy"
_FITS = {
    STRETCH: "stretched to",
    LETTERBOX: "shrunk or enlarged to lie within grey borders in",
    CROP: "cut and scaled to",
}
_ORDERS: dict[tuple[int, ...], str] = {
    (2, 1, 0): "channels 2 1 0 (BGR)",
    (0, 1, 2): "channels 0 1 2 (RGB)",
}


def file_text(path: Path, spec: TensorSpec, how: Preprocess | None) -> str:
    """Return what a sample's file is taken as, before reorder, mean and std."""
    if path.suffix.lower() == NPY:
        return array_text("npy", spec, layout="nhwc")
    _, channels, height, width = spec.shape
    colour = "grey" if channels == 1 else "RGB"
    done = _FITS[fit_of(how)]
    return f"images as pixels 0..255, {colour}, {done} {width}x{height} (width x height)"


def fit_of(how: Preprocess | None) -> str:
    """Return how pictures get the input's size."""
    return STRETCH if how is None else how.fit


def array_text(what: str, spec: TensorSpec, *, layout: str) -> str:
    """Return what an array is taken as: its axes' order, where the input has four."""
    if len(spec.shape) != 4:
        return f"{what} of shape {'x'.join(map(str, spec.shape)) or '()'}"
    return f"{what}, {layout.upper()}" + (" -> NCHW" if layout == "nhwc" else "")


def input_text(name: str, spec: TensorSpec, how: Preprocess | None, taken_as: str) -> str:
    """Return the line of an input: what is taken, and what is done to its values.

    Parameters
    ----------
    name : str
    spec : TensorSpec
        The input as the samples are read for it.
    how : Preprocess or None
        What ``npusim.runtime.program.preprocess`` is given.
    taken_as : str
        From ``file_text`` or ``array_text``.

    >>> from npusim.ir.dtypes import DType
    >>> spec = TensorSpec(name="x", shape=(1, 3, 8, 9), dtype=DType.F32)
    >>> input_text("x", spec, None, file_text(Path("a.npy"), spec, None))
    "input 'x': npy, NHWC -> NCHW; no mean or std given"
    """
    if not spec.dtype.is_float and isinstance(spec.quant, Float):
        return f"input {name!r}: {taken_as}; whole numbers ({spec.dtype.value}), as they are"
    steps = []
    if how is not None and how.reorder:
        order = " ".join(map(str, how.reorder))
        steps.append(_ORDERS.get(how.reorder, f"channels {order}"))
    if how is not None and how.mean:
        steps.append(f"minus mean {_numbers(how.mean)}")
    if how is not None and how.std:
        steps.append(f"divided by std {_numbers(how.std)}")
    if how is None or not (how.mean or how.std):
        steps.append("no mean or std given")
    return f"input {name!r}: {taken_as}; {', '.join(steps)}"


def sample_texts(graph: Graph, samples: Iterable[Sequence[str | Path]]) -> tuple[str, ...]:
    """Return the lines of samples that others will read, by their files in the inputs' order."""
    lines = set()
    for files in samples:
        for name, file in zip(graph.inputs, files, strict=False):
            spec, how = graph.spec(name), graph.preprocess.get(name)
            if Path(file).suffix == NPY or len(spec.shape) == 4:
                lines.add(input_text(name, spec, how, file_text(Path(file), spec, how)))
    return tuple(sorted(lines))


def _numbers(numbers: tuple[float, ...]) -> str:
    same = numbers[:1] if len(set(numbers)) == 1 else numbers
    return " ".join(f"{number:.9g}" for number in same)

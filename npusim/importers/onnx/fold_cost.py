"""What the evaluator of the onnx package takes for a node, estimated before it runs."""

from collections.abc import Mapping, Sequence
from math import ceil, prod

import numpy as np
from onnx import TypeProto

from npusim.importers.common.builder import Array
from npusim.importers.common.made import check_made, held
from npusim.importers.onnx.context import OnnxNode, UnsupportedForm

MOST_COST = 1 << 22
"""Microseconds that the nodes of a file may take together: about as many seconds as there are
millions, on one core of 3 GHz."""

LONGEST_STEP = 1 << 12
"""Largest number in an attribute of operators that take steps."""

_COSTS: dict[str, float] = {
    **dict.fromkeys(["Resize", "MaxUnpool"], 0.5),
    **dict.fromkeys(["LinearAttention", "NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss"], 2),
    **dict.fromkeys(["Erf", "GatherND", "ReverseSequence", "STFT", "TensorScatter", "Unique"], 2),
    **dict.fromkeys(["Scatter", "ScatterElements", "ScatterND"], 2),
    **dict.fromkeys(["AveragePool", "LpPool", "MaxPool", "MelWeightMatrix"], 4),
    **dict.fromkeys(["Col2Im", "NonMaxSuppression", "Conv", "ConvInteger", "ConvTranspose"], 4),
    "QLinearConv": 4,
    **dict.fromkeys(["GRU", "LSTM", "RNN", "MaxRoiPool", "TfIdfVectorizer"], 16),
    **dict.fromkeys(["DeformConv", "RoiAlign"], 64),
    "GridSample": 1024,
}
"""Microseconds of a step, rounded up from what was measured: these compute element by element."""

_WEIGHTS = {"Conv": 1, "ConvInteger": 1, "ConvTranspose": 1, "DeformConv": 1, "QLinearConv": 3}
_PRODUCTS = {"MatMul": 1, "Gemm": 1, "MatMulInteger": 1, "QLinearMatMul": 3, "Einsum": 1}
"""Position of a convolution's weights; of the second factor of a product."""

_FAST, _SLOW = 1 / 8192, 1 / 256
"""Microseconds of a multiply-add: of floats by BLAS, of others."""

_INDICES = ("NonZero", "TopK")  # they hold an index per element and axis


def cost_of(node: OnnxNode, feeds: Mapping[str, Array], outputs: Mapping[str, TypeProto]) -> float:
    """Return an estimate of microseconds; 0 for what is done with whole arrays.

    Parameters
    ----------
    feeds, outputs : mapping
        Values of the inputs, types of the outputs.

    Raises
    ------
    UnsupportedForm
        For a number in an attribute beyond ``LONGEST_STEP``, where it counts.
    ModelImportError
        When intermediate values would be too large.
    """
    values = [feeds.get(name) for name in node.inputs]
    made = [[d.dim_value for d in o.tensor_type.shape.dim] for o in outputs.values()]
    if node.op_type in _INDICES and values[0] is not None:
        check_made([values[0].ndim, values[0].size], "its indices", node.where)
    if node.op_type == "Attention" and values[0] is not None and values[1] is not None:
        _attention(node, values[0], values[1])
    if node.op_type in _PRODUCTS:
        plain = node.op_type != "Einsum" and all(map(_for_blas, feeds.values()))
        return _multiplications(node, values, made) * (_FAST if plain else _SLOW)
    if node.op_type not in _COSTS:
        return 0
    numbers = [n for a in node.attrs.values() for n in (a.i, *a.ints)]
    if any(abs(n) > LONGEST_STEP for n in numbers):
        raise too_large()
    return _COSTS[node.op_type] * _elements(node, values, made) * _taps(node, values)


def _for_blas(value: Array) -> bool:
    return value.dtype.name in ("float32", "float64") and held(value) == value.size


def too_large() -> UnsupportedForm:
    """Return what says that a node is not evaluated."""
    return UnsupportedForm(
        "it depends on constants only and is too large to be evaluated while importing",
        "let the exporter fold it",
    )


def _elements(node: OnnxNode, values: Sequence[Array | None], made: Sequence[Sequence[int]]) -> int:
    """Return how many elements the largest of inputs and outputs has, pads included."""
    known = [value.shape for value in values if value is not None]
    pads = node.integers("pads") or ()
    if known and pads and len(known[0]) == 2 + len(pads) // 2:
        sides = zip(known[0][2:], pads, pads[len(pads) // 2 :], strict=False)
        known.append((*known[0][:2], *(abs(n) + abs(p) + abs(q) for n, p, q in sides)))
    return int(max(1, *(prod(shape) for shape in (*known, *made))))


def _taps(node: OnnxNode, values: Sequence[Array | None]) -> float:
    """Return how often an element is visited."""
    first = values[0] if values else None
    if node.op_type == "NonMaxSuppression":
        return first.shape[1] if first is not None and first.ndim == 3 else 1
    if node.op_type == "TfIdfVectorizer":
        lengths = node.integer("max_gram_length", 1), node.integer("max_skip_count", 0) + 1
        return prod(max(1, n) for n in lengths)
    if node.op_type == "RoiAlign":
        return _samples(node, values[1] if len(values) > 1 else None)
    window = node.integers("kernel_shape")
    at = _WEIGHTS.get(node.op_type)
    weights = values[at] if at is not None and at < len(values) else None
    if window is None and weights is not None:
        window = weights.shape[2:]
    window = window or ()
    steps = node.integers("dilations") or (1,) * len(window)
    return prod(max(1, (n - 1) * abs(d) + 1) for n, d in zip(window, steps, strict=False))


def _samples(node: OnnxNode, rois: Array | None) -> float:
    """Return samples of a bin, of which there are as many as it is large where none are said."""
    ratio = node.integer("sampling_ratio", 0)
    if ratio > 0:
        return float(ratio) ** 2
    if rois is None or not rois.size:
        return 1
    scale = abs(node.real("spatial_scale", 1.0))
    longest = float(np.abs(rois.astype(np.float64)).max()) * 2 * scale
    if not longest <= LONGEST_STEP:
        raise too_large()
    bins = [max(1, node.integer(f"output_{side}", 1)) for side in ("height", "width")]
    return prod(max(1, ceil(longest / n)) for n in bins)


def _attention(node: OnnxNode, query: Array, key: Array) -> None:
    """Refuse a table of query and key positions that is too large."""
    heads = query.shape[1] if query.ndim == 4 else max(1, node.integer("q_num_heads", 1))
    check_made([query.shape[0], heads, query.shape[-2], key.shape[-2]], "its weights", node.where)


def _multiplications(
    node: OnnxNode, values: Sequence[Array | None], made: Sequence[Sequence[int]]
) -> int:
    """Return how many multiply-adds a product takes."""
    first = values[0]
    if first is None or not first.ndim:
        return 0
    if node.op_type == "Einsum":
        return _contraction(node, [value for value in values if value is not None])
    across = 0 if node.integer("transA", 0) else -1
    return max((prod(shape) for shape in made), default=1) * int(first.shape[across])


def _contraction(node: OnnxNode, values: Sequence[Array]) -> int:
    """Return the product of the sizes of all letters."""
    left = node.text("equation").partition("->")[0].replace(" ", "").split(",")
    sizes: dict[str, int] = {}
    for letters, value in zip(left, values, strict=False):
        rest = max(0, value.ndim - (len(letters) - len("...")))
        whole = letters.replace("...", "".join(map(str, reversed(range(rest)))))
        for letter, size in zip(whole, value.shape, strict=False):
            sizes[letter] = max(size, sizes.get(letter, 1))
    count = prod(sizes.values())
    if len(values) > 2:
        check_made([count], "what is between its operands", node.where)
    return count

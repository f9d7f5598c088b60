"""Sound networks that ``fuzz.py`` starts from: quantized, of functions, loops and two files."""

from collections.abc import Iterator
from typing import Any

import numpy as np

Files = dict[str, bytes]
MS = "com.microsoft"
LIMIT = 1024  # bytes from which a tensor stands in a second file


def onnx_networks() -> Iterator[Files]:
    """Yield quantized networks of both kinds, one with functions, one in two files."""
    from onnx import helper

    from tests.onnx_models import onnx_model

    node, rng = helper.make_node, np.random.default_rng(0)

    def codes(*shape: int) -> Any:
        return rng.integers(-100, 100, shape, np.int8)

    scales = {"s": np.float32(0.02), "z": np.uint8(128), "ws": np.float32(0.01), "wz": np.int8(0)}
    first, last = ["s", "z"], node("DequantizeLinear", ["q", "s", "z"], ["y"])
    many = {"cs": np.linspace(0.01, 0.02, 4).astype(np.float32), "cz": np.zeros(4, np.int8)}
    constants = scales | many | {"w": codes(4, 2, 3, 3), "b": np.arange(4, dtype=np.int32)}
    begin = node("QuantizeLinear", ["x", *first], ["a"])
    conv = ["a", *first, "w", "cs", "cz", *first, "b"]
    yield _saved(
        [
            begin,
            node("QLinearConv", conv, ["c"], pads=[1, 1, 1, 1]),
            node("QLinearAdd", ["c", *first, "c", *first, *first], ["d"], domain=MS),
            node("QLinearMul", ["d", *first, "c", *first, *first], ["e"], domain=MS),
            node("QLinearSigmoid", ["e", *first, *first], ["f"], domain=MS),
            node("QLinearConcat", [*first, "f", *first, "d", *first], ["g"], domain=MS, axis=1),
            node("MaxPool", ["g"], ["h"], kernel_shape=[2, 2], strides=[2, 2]),
            node("QLinearGlobalAveragePool", ["h", *first, *first], ["q"], domain=MS),
            last,
        ],
        (1, 2, 4, 4), constants,
    )  # fmt: skip
    yield _saved(
        [
            begin,
            node("QLinearMatMul", ["a", *first, "w", "ws", "wz", *first], ["m"]),
            node("QLinearLeakyRelu", ["m", *first, *first], ["l"], domain=MS, alpha=0.1),
            node("QLinearSoftmax", ["l", *first, *first], ["q"], domain=MS, axis=1, opset=13),
            last,
        ],
        (2, 8), scales | {"w": codes(8, 4)},
    )  # fmt: skip
    pairs = [("x", "a"), ("c", "d"), ("e", "f"), ("g", "h")]
    quantized = [
        n
        for a, b in pairs
        for n in (
            node("QuantizeLinear", [a, *first], [f"{b}q"]),
            node("DequantizeLinear", [f"{b}q", *first], [b]),
        )
    ]
    yield _saved(
        [
            *quantized[:2],
            node("DequantizeLinear", ["w", "cs", "cz"], ["wd"], axis=0),
            node("DequantizeLinear", ["b", "bs"], ["bd"], axis=0),
            node("Conv", ["a", "wd", "bd"], ["c"], pads=[1, 1, 1, 1]),
            *quantized[2:4],
            node("Add", ["d", "d"], ["e"]),
            *quantized[4:6],
            node("AveragePool", ["f"], ["g"], kernel_shape=[2, 2], strides=[2, 2]),
            *quantized[6:],
            node("Flatten", ["h"], ["y"]),
        ],
        (1, 2, 4, 4), constants | {"bs": many["cs"] * np.float32(0.02)},
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid("own", 1)]
    inner = helper.make_function(
        "own", "scaled", ["p", "k"], ["r"], [node("Mul", ["p", "k"], ["r"])], opsets[:1]
    )
    outer = helper.make_function(
        "own", "block", ["p", "k"], ["r"],
        [node("scaled", ["p", "k"], ["t"], domain="own"),
         node("Elu", ["t"], ["u"]), node("Add", ["u", "p"], ["r"])],
        opsets, ["alpha"],
    )  # fmt: skip
    outer.node[1].attribute.add(name="alpha", ref_attr_name="alpha", type=1)
    model = onnx_model(
        [node("block", ["x", "k"], ["t"], domain="own", alpha=0.5),
         node("block", ["t", "k"], ["y"], domain="own", alpha=2.0)],
        {"x": (1, 2, 3, 3)}, {"y": (1, 2, 3, 3)}, {"k": np.float32(0.3)}, domains={"own": 1},
    )  # fmt: skip
    model.functions.extend([inner, outer])
    yield {"net.onnx": model.SerializeToString()}
    yield _in_two_files(
        onnx_model(
            [node("MatMul", ["x", "w"], ["m"]), node("Add", ["m", "b"], ["y"])],
            {"x": (2, 16)}, {"y": (2, 24)},
            {"w": rng.standard_normal((16, 24)).astype(np.float32), "b": np.ones(24, np.float32)},
        )
    )  # fmt: skip


def _saved(nodes: Any, shape: tuple[int, ...], constants: dict[str, Any]) -> Files:
    from tests.onnx_models import onnx_model

    model = onnx_model(nodes, {"x": shape}, ["y"], constants, domains={MS: 1})
    return {"net.onnx": model.SerializeToString()}


def _in_two_files(model: Any) -> Files:
    """Return a model whose large tensors stand in a second file."""
    data = b""
    for tensor in model.graph.initializer:
        if len(tensor.raw_data) < LIMIT:
            continue
        places = {"location": "net.data", "offset": len(data), "length": len(tensor.raw_data)}
        data += tensor.raw_data
        tensor.ClearField("raw_data")
        tensor.data_location = 1
        for key, value in places.items():
            tensor.external_data.add(key=key, value=str(value))
    return {"net.onnx": model.SerializeToString(), "net.data": data}


def tflite_networks() -> Iterator[Files]:
    """Yield loops, conditions, calls, variables and LSTMs."""
    from tests.importers import test_tflite_flow as flow
    from tests.importers import test_tflite_lstm as lstm

    for made in (
        flow.doubling(),
        flow.chosen("IF", condition=True),
        flow.chosen("CALL"),
        flow.streaming(),
        flow.writing(turns=3),
        lstm.sequence(),
        lstm.sequence(peepholes=True, projected=True, clip=1.0),
        lstm.sequence(both=True, merged=True, coupled=True),
    ):
        yield {"net.tflite": made.bytes()}

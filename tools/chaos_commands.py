"""The commands that tools/chaos.py disturbs, and what they work on."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper, save_model
from PIL import Image


@dataclass(frozen=True)
class Command:
    """A command line and what it writes.

    Attributes
    ----------
    words, old : tuple of str
        The command; the options that another run had before it.
    sets : tuple of (str, ...)
        Files (patterns) that belong together; where an index is named it comes first.
    folder : str
        A dump or snapshot that ``read_dump`` reads, instead.
    steps : bool
        Goes on where it was: what it has measured so far is in a state.
    """

    words: tuple[str, ...]
    old: tuple[str, ...] = ()
    sets: tuple[tuple[str, ...], ...] = ()
    folder: str = ""
    steps: bool = False


HOW = ("net.onnx", "--mean", "127.5", "--std", "127.5")
LIST = ("--dataset", "list.txt")
COMMANDS = {
    "quantize": Command(
        ("quantize", *HOW, *LIST, "-o", "q.npusim"), ("--quantize", "i8"), (("q.npusim",),)
    ),
    "export": Command(
        ("export", *HOW[:1], "-o", "e.onnx"), ("--cut-outputs", "r2"), (("e.onnx",),)
    ),
    "equalize": Command(
        ("equalize", *HOW, *LIST, "-o", "eq.onnx"), ("--cut-outputs", "r2"), (("eq.onnx",),)
    ),
    "run": Command(
        ("run", *HOW, *LIST, "-o", "out"), ("--quantize", "i8"), (("out/output_0.npy",),)
    ),
    "dump": Command(("dump", *HOW, *LIST, "-o", "d"), ("--quantize", "i8"), folder="d"),
    "analyze": Command(
        ("analyze", *HOW, *LIST, "-o", "a"),
        ("--quantize", "i8"),
        (("a/analysis.json", "a/analysis.csv"),),
        folder="a",
    ),
    "tune": Command(
        ("tune", *HOW, *LIST, "-o", "best"),
        ("--quantize", "i8", "--state", "older.json"),
        (("best.json", "best.data", "best.quantization.cfg"),),
        steps=True,
    ),
    "evaluate": Command(
        ("evaluate", *HOW, "--dataset", "labels.txt", "--calibration", "list.txt", "--jobs", "1",
         "--quantize", "u8,i16", "-o", "e.json"),
        ("--quantize", "i8"),
        (("e.json",),),
        steps=True,
    ),
    "perf": Command(("perf", *HOW[:1], "--plot", "plots"), ("--batch", "4"), (("plots/*",),)),
}  # fmt: skip


def make_inputs(folder: Path) -> None:
    """Write a small network and labelled pictures."""
    rng = np.random.default_rng(5)
    weights = {
        "w": rng.normal(0, 0.3, (8, 3, 3, 3)),
        "b": rng.normal(0, 0.1, 8),
        "w2": rng.normal(0, 0.3, (4, 8, 3, 3)),
        "b2": rng.normal(0, 0.1, 4),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c1"], name="c1", pads=[1] * 4),
        helper.make_node("Relu", ["c1"], ["r1"], name="r1"),
        helper.make_node("Conv", ["r1", "w2", "b2"], ["c2"], name="c2"),
        helper.make_node("Relu", ["c2"], ["r2"], name="r2"),
        helper.make_node("GlobalAveragePool", ["r2"], ["p"], name="pool"),
        helper.make_node("Flatten", ["p"], ["y"], name="flat"),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 3, 9, 8))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 4))],
        [numpy_helper.from_array(v.astype(np.float32), k) for k, v in weights.items()],
    )
    save_model(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), folder / "net.onnx"
    )
    for n in range(8):
        Image.fromarray(rng.integers(0, 256, (9, 8, 3), np.uint8)).save(folder / f"{n}.png")
    (folder / "list.txt").write_text("".join(f"{n}.png\n" for n in range(4)))
    (folder / "labels.txt").write_text("".join(f"{n}.png {n % 4}\n" for n in range(8)))

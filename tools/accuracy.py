"""Measure real networks: float16 and u8 on the simulated chip against float ONNX Runtime.

    python tools/fetch_models.py && python tools/accuracy.py [--models FOLDER] [--write]

Prints one row per model; ``--write`` renews docs/accuracy.md. Images come from scikit-image,
matplotlib and npusim's own assets; calibration and test images are disjoint.
"""

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]  # the other tool; npusim in a bare checkout

import accuracy_formats
import fetch_models
from accuracy_samples import samples, top1_agreement

import npusim
from npusim.analysis.compare import Comparison, compare_with_source
from npusim.analysis.float_runner import run_source_float
from npusim.analysis.metrics import cosine

DOCUMENT = HERE.parent / "docs" / "accuracy.md"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One model in one number format against float.

    Attributes
    ----------
    lowest_cosine, mean_cosine : float
        Over the test images, of the model's outputs.
    same_top1 : float
        Share of positions whose largest class is the same; NaN when the output has no classes.
    comparison : Comparison
        Layer by layer, first test image.
    """

    scheme: str
    lowest_cosine: float
    mean_cosine: float
    same_top1: float
    comparison: Comparison
    layers: int
    seconds_per_image: float


def measure(path: Path, model: Any, scheme: str) -> Measured:
    """Run one model in one number format on its test images."""
    calibration, test = samples(model)
    graph = npusim.load_model(path, input_shapes={model.input: model.shape})
    named = [(f"image {i}", feeds) for i, feeds in enumerate(calibration)]
    program = npusim.compile(npusim.quantize(graph, named, scheme=scheme))
    cosines, agreements, begin = [], [], 0.0
    for feeds in test:
        expected = run_source_float(path, feeds, tensors=list(graph.outputs))
        start = time.perf_counter()
        actual = program.run(feeds, preprocessed=True)
        begin += time.perf_counter() - start
        for name, value in actual.items():
            cosines.append(cosine(value, expected[name]))
            agreements += list(top1_agreement(value, expected[name]))
    tensors = [name for node in program.graph.nodes for name in node.outputs]
    source = run_source_float(path, test[0], tensors=tensors)
    return Measured(
        scheme=scheme,
        lowest_cosine=min(cosines),
        mean_cosine=float(np.mean(cosines)),
        same_top1=float(np.mean(agreements)) if agreements else float("nan"),
        comparison=compare_with_source(program, test[0], source, preprocessed=True),
        layers=len(program.graph.nodes),
        seconds_per_image=begin / len(test),
    )


def row(model: Any, results: dict[str, Measured]) -> str:
    """Return one row of the table."""
    f16, u8, name = results["f16"], results["u8"], model.file.removesuffix(".onnx")
    worst = u8.comparison.costliest
    costly = (
        f"`{worst.layer}` ({worst.op}), {worst.difference.cosine:.4f}" if worst is not None else "-"
    )

    def top1(result: Measured) -> str:
        return "-" if np.isnan(result.same_top1) else f"{result.same_top1:.1%}"

    return (
        f"| {name} | {u8.layers} | {f16.lowest_cosine:.6f} | {top1(f16)} "
        f"| {u8.lowest_cosine:.4f} | {u8.mean_cosine:.4f} | {top1(u8)} | {costly} |"
    )


COLUMNS = (
    "model", "layers", "f16 cosine, lowest", "f16 same top-1", "u8 cosine, lowest",
    "u8 cosine, mean", "u8 same top-1", "layer that costs most in u8, its cosine",
)  # fmt: skip
HEAD = f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|"


def main(arguments: list[str] | None = None) -> int:
    """Print the table and, on request, renew the document."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--models", type=Path, default=fetch_models.cache_folder())
    parser.add_argument("--write", action="store_true", help="renew docs/accuracy.md")
    parser.add_argument("--only", default="", help="models whose name contains this")
    parser.add_argument("--formats", action="store_true", help="the table of number formats")
    parser.add_argument("--rows", default="", help="formats whose name contains this")
    options = parser.parse_args(arguments)
    if options.formats:
        found = accuracy_formats.table(options.models, options.only, options.rows)
        if options.write:
            accuracy_formats.write(found)
        return 0
    rows = []
    for model in fetch_models.load_list()[1]:
        path = options.models / model.file
        if options.only not in model.file:
            continue
        results = {scheme: measure(path, model, scheme) for scheme in ("f16", "u8")}
        rows.append(row(model, results))
        print(rows[-1], flush=True)
    if options.write:
        text = DOCUMENT.read_text(encoding="utf-8")
        before, _, rest = text.partition("<!-- table -->")
        _, _, after = rest.partition("<!-- end of table -->")
        table = "\n".join([HEAD, *rows])
        DOCUMENT.write_text(
            f"{before}<!-- table -->\n{table}\n<!-- end of table -->{after}", encoding="utf-8"
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

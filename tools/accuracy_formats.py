"""Number formats of real networks against float, with estimated times: docs/accuracy-formats.md.

    python tools/fetch_models.py
    python tools/accuracy.py --formats [--only MODEL] [--rows WORDS] [--write]

One row per model and format: f16, u8 with each calibration algorithm, u8 of the equalized network,
i8, i16, and u8 with layers raised to i16 by the search of ``npusim tune`` within 1.3 and 2 times
the u8 network's estimated time. Calibration images (the search measures on these as well) and test
images are disjoint.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import fetch_models
import numpy as np
from accuracy_samples import Feeds, samples, top1_agreement

import npusim
from npusim.analysis.metrics import cosine
from npusim.ir.graph import Graph
from npusim.passes.pipeline import lower, optimize
from npusim.perfmodel.estimate import estimate
from npusim.quantization.algorithms import Algorithm
from npusim.quantization.equalize import Relu6
from npusim.quantization.job import Quantization, equalized, execute
from npusim.quantization.plan import Plan
from npusim.quantization.schemes import Scheme
from npusim.reference.float_engine import float_engine
from npusim.runtime.program import Program
from npusim.tuning.metrics import sqnr_db
from npusim.tuning.search import Tuner
from npusim.tuning.state import State

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "accuracy-formats.md"
MODELS = ("mobilenet_v2", "_cls_", "_det_", "_rec_")
BUDGETS = (1.3, 2.0)
MOST = 120  # new measurements of one search
SEARCH_SAMPLES = 8
COLUMNS = (
    "model", "format", "cosine, lowest", "cosine, mean", "SQNR (dB)", "same top-1",
    "estimated time (us)",
)  # fmt: skip
HEAD = f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """A model with its images and float results."""

    graph: Graph
    calibration: list[tuple[str, Feeds]]
    test: list[Feeds]
    expected: list[dict[str, Any]]


def prepare(path: Path, model: Any) -> Bench:
    """Load a model and run it in float on its test images."""
    calibration, test = samples(model)
    graph = npusim.load_model(path, input_shapes={model.input: model.shape})
    engine = float_engine(optimize(graph), observed=False)
    return Bench(
        graph=graph,
        calibration=[(f"image {i}", feeds) for i, feeds in enumerate(calibration)],
        test=test,
        expected=[engine.run(feeds) for feeds in test],
    )


def formats(bench: Bench, wanted: str) -> Iterator[tuple[str, Graph]]:
    """Yield (what it is, lowered graph) for every row whose name contains ``wanted``."""
    relu6 = any(node.op == "relu6" for node in optimize(bench.graph).nodes)
    rows: dict[str, Callable[[], Graph]] = {"f16": lambda: lower(npusim.float16(bench.graph))}
    for name in ("normal", "moving_average", "kl_divergence", "mmse"):
        rows[f"u8 {name}"] = partial(quantized, bench, algorithm=Algorithm(name=name))
    rows["u8 bias corrected"] = partial(quantized, bench, bias_correction=True)
    for mode in (Relu6.RESTRICT, Relu6.REPLACE) if relu6 else (Relu6.RESTRICT,):
        word = f" (relu6: {mode.value})" if mode is Relu6.REPLACE else ""
        title = f"u8 equalized{word}"
        rows[title] = partial(quantized, bench, equalize=mode)
        rows[f"{title}, bias corrected"] = partial(
            quantized, bench, equalize=mode, bias_correction=True
        )
    rows["i8"] = partial(quantized, bench, scheme=Scheme.I8)
    rows["i16"] = partial(quantized, bench, scheme=Scheme.I16)
    for title, make in rows.items():
        if wanted in title:
            yield title, make()
    if wanted in "u8, layers raised to i16":
        yield from tuned(bench)
    if wanted in "equalized, bias corrected u8, layers raised to i16":
        yield from tuned(bench, equalize=Relu6.RESTRICT, bias_correction=True)


def float_rows(name: str, bench: Bench) -> Iterator[str]:
    """Yield what equalization alone does to the float network on the test images."""
    for mode in (Relu6.RESTRICT, Relu6.REPLACE):
        graph = optimize(bench.graph)
        if any(node.op == "relu6" for node in graph.nodes):
            word = f" (relu6: {mode.value})"
        elif mode is Relu6.REPLACE:
            continue
        else:
            word = ""
        changed = equalized(graph, mode, bench.calibration).graph
        engine = float_engine(changed, observed=False)
        actual = [engine.run(feeds) for feeds in bench.test]
        yield line(name, f"float, equalized{word}", actual, bench, time_us="-")


def quantized(bench: Bench, **options: Any) -> Graph:
    """Return the lowered graph of one quantization."""
    return lower(execute(bench.graph, Plan(dataset=bench.calibration, **options)))


def tuned(bench: Bench, **options: Any) -> Iterator[tuple[str, Graph]]:
    """Yield what the search found within each budget."""
    job = Quantization(bench.graph, Plan(dataset=bench.calibration, **options))
    feeds = [feeds for _, feeds in bench.calibration[:SEARCH_SAMPLES]]
    tuner = Tuner(job, job.measure(), feeds, sqnr_db, State(None, {}))
    base = tuner.measure((), Scheme.I16)
    word = "equalized, bias corrected u8" if options else "u8"
    for budget in BUDGETS:
        best = tuner.search(Scheme.I16, budget_us=budget * base.time_us, most=MOST)
        title = f"{word}, {len(best.layers)} layers raised to i16 (up to {budget:g} x time)"
        yield title, tuner.lowered(best.layers, Scheme.I16)


def row(name: str, title: str, graph: Graph, bench: Bench) -> str:
    """Measure one format on the test images; return its row."""
    program = Program(graph)
    actual = [program.run(feeds, preprocessed=True) for feeds in bench.test]
    return line(name, title, actual, bench, time_us=f"{estimate(graph).total_time_us:.0f}")


def line(name: str, title: str, actual: list[dict[str, Any]], bench: Bench, *, time_us: str) -> str:
    """Return a row for results on the test images."""
    cosines, agree = [], []
    for got, wanted in zip(actual, bench.expected, strict=True):
        for output in wanted:
            cosines.append(cosine(got[output], wanted[output]))
            agree += list(top1_agreement(got[output], wanted[output]))
    top1 = f"{np.mean(agree):.1%}" if agree else "-"
    return (
        f"| {name} | {title} | {min(cosines):.4f} | {np.mean(cosines):.4f} "
        f"| {sqnr_db(bench.expected, actual):.1f} | {top1} | {time_us} |"
    )


def table(models: Path, only: str, wanted: str = "") -> list[str]:
    """Print and return all rows."""
    rows = []
    for model in fetch_models.load_list()[1]:
        if only not in model.file or not any(part in model.file for part in MODELS):
            continue
        begin = time.perf_counter()
        bench = prepare(models / model.file, model)
        name = model.file.removesuffix(".onnx")
        measured = (row(name, title, graph, bench) for title, graph in formats(bench, wanted))
        floats = float_rows(name, bench) if wanted in "float, equalized" else ()
        for text in chain(floats, measured):
            rows.append(text)
            print(text, flush=True)
        print(f"{model.file}: {time.perf_counter() - begin:.0f} s", flush=True)
    return rows


def write(rows: list[str]) -> None:
    """Renew the table in the document."""
    text = DOCUMENT.read_text(encoding="utf-8")
    before, _, rest = text.partition("<!-- table -->")
    _, _, after = rest.partition("<!-- end of table -->")
    DOCUMENT.write_text(
        f"{before}<!-- table -->\n" + "\n".join([HEAD, *rows]) + f"\n<!-- end of table -->{after}",
        encoding="utf-8",
    )

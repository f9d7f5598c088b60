"""The work behind hybrid_quantization_step1, step2 and direct_build."""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from npusim.api.overwriting import refuse_overwriting, refuse_unwritable
from npusim.errors import ConfigError
from npusim.ir.graph import STRETCH, Graph
from npusim.ops import op_def
from npusim.passes.pipeline import lower
from npusim.plain import name_of
from npusim.quantization.dataset import open_dataset
from npusim.quantization.hybrid.cfg import cfg_content
from npusim.quantization.hybrid.files import HybridModel, file_names, load_hybrid, save_hybrid
from npusim.quantization.hybrid.records import records_of
from npusim.quantization.job import Quantization
from npusim.quantization.plan import Measured, Plan
from npusim.quantization.schemes import Scheme
from npusim.reference.float_engine import float_engine
from npusim.rknn.convert import measured, prepared
from npusim.rknn.log import Log
from npusim.rknn.options import Options
from npusim.rknn.state import named_files, source_of
from npusim.runtime.program import Program
from npusim.tuning.errors import layer_noise, worst_layers

SUGGESTION_SAMPLES = 3
SUGGESTION_NOISE = 0.01
HINT = "then call hybrid_quantization_step2; float32 runs as float16"


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A lowered graph, the float model it came from and its target platforms."""

    graph: Graph
    source: Graph
    targets: tuple[str, ...]


def step1(source: Graph, options: Options, log: Log, *, dataset: Any) -> Built:
    """Measure a float model, write the three files, build it in its default format."""
    if options.scheme is Scheme.F16:
        raise ConfigError(
            "quantized_dtype is float16",
            rule="hybrid quantization starts from an integer type",
            remedy="config(quantized_dtype='asymmetric_quantized-u8')",
        )
    json_file, data_file, cfg = names = file_names(file_stem(source))
    written = [("hybrid_quantization_step1", Path(name)) for name in names]
    refuse_overwriting([*source_of(source), *named_files("dataset", dataset)], written)
    refuse_unwritable(written)
    source = prepared(source, options, log, batch=-1)
    job, ranges = measured(source, options, log, dataset=dataset)
    model = HybridModel(
        source=source,
        scheme=options.scheme,
        level=options.optimization_level,
        ranges=ranges,
        toolkit=job.plan.toolkit,
        no_join=job.apart,
        notes=job.notes,
        targets=options.targets,
    )
    records = [slot.record for slot in records_of(job.graph, source, ranges, job.formats)]
    built = _built(job.quantized(ranges, job.formats), model, log)
    suggested = suggestions(job, built.graph, Path(dataset)) if _is_8_bit(options) else {}
    content = cfg_content(records, suggested, comments=(HINT,))
    save_hybrid(model, json_file, data_file, (cfg, content))
    log.info(f"wrote {json_file}, {data_file} and {cfg} in {Path.cwd()}")
    if suggested:
        log.info(f"{cfg} suggests i16 for {', '.join(suggested)}; edit it as you like")
    return built


def _is_8_bit(options: Options) -> bool:
    """Tell whether i16 would be a wider format."""
    return options.scheme in (Scheme.U8, Scheme.I8)


def suggestions(job: Quantization, lowered: Graph, dataset: Path) -> dict[str, Scheme]:
    """Return layer id -> i16 for the layers that add most noise by themselves.

    Measured on the first samples: layers that add more than 1 % of their signal's energy, noisiest
    first, until they make half of all noise.

    Source: releases since 1.6 fill in suggestions, all i16; how they choose is not documented.
    """
    samples = open_dataset(dataset, job.graph, limit=SUGGESTION_SAMPLES)
    noise = layer_noise(
        Program(lowered.copy(batch=1)),
        float_engine(job.graph),
        [feeds for _, feeds in samples],
    )
    owners = {origin: n for n in job.source.nodes if op_def(n.op).weighted for origin in n.origin}
    found = {}
    for name in worst_layers(noise, lowered):
        if noise[name] > SUGGESTION_NOISE:
            node = lowered.node(name)
            owner = next((owners[o] for o in node.origin if o in owners), node)
            found[owner.layer_id] = Scheme.I16
    return found


def build_from_files(
    json_path: Path, data_path: Path, cfg: Path | None, options: Options, log: Log
) -> Built:
    """Build what step 1 measured as a cfg file says; in float16 without one."""
    model = load_hybrid(json_path, data_path)
    given = options.channels.preprocess(model.source)
    # config has no word for the fit: it stays that of step 1
    known = {name: replace(how, fit=STRETCH) for name, how in model.source.preprocess.items()}
    if given and given != known:
        raise ConfigError(
            "mean, std or reorder_channel differ from those of step 1",
            where=str(json_path),
            rule="the ranges were measured with step 1's",
            remedy="leave them out of config, or run hybrid_quantization_step1 again",
        )
    plan = Plan(
        scheme=Scheme.F16 if cfg is None else model.scheme,
        measured=Measured(ranges=model.ranges, notes=model.notes),
        cfg=cfg,
        level=model.level,
        toolkit=model.toolkit,
        no_join=model.no_join,
        avoid_driver_faults=options.avoid_driver_faults and cfg is not None,
    )
    job = Quantization(model.source, plan)
    ranges = job.measure()
    if cfg is None:
        log.info("no cfg file: weights and activations become float16")
    for name, own in job.formats.layers.items():
        log.info(f"layer {name}: {own.value}")
    return _built(job.quantized(ranges, job.formats), model, log)


def _built(graph: Graph, model: HybridModel, log: Log) -> Built:
    graph = lower(graph, level=model.level)
    converters = [node.layer_id for node in graph.nodes if node.op == "convert"]
    for name in converters:
        log.debug(f"converter {name}")
    log.info(
        f"built for {', '.join(model.targets)}: {len(graph.nodes)} layers, {len(converters)} of "
        "them converters"
    )
    return Built(graph=graph, source=model.source, targets=model.targets)


def file_stem(graph: Graph) -> str:
    """Return what the files are called.

    The file's own name without its suffix; for ONNX the graph's name without special characters.

    Source: files of the toolkit's examples (torch-jit-export -> torchjitexport).
    """
    file = name_of(Path(graph.source.path))
    if graph.source.framework == "onnx":
        file = re.sub(r"[^0-9A-Za-z_]", "", graph.name) or re.sub(r"[^0-9A-Za-z_]", "", file)
    return file or "model"

"""Measure what a report page shows."""

from collections.abc import Callable, Iterator, Mapping, Sequence, Sized
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from npusim import words
from npusim.analysis.analyze import Analysis, analyze
from npusim.analysis.compare import Comparison
from npusim.analysis.findings import Cause
from npusim.analysis.metrics import difference
from npusim.analysis.parts import output_parts, part_differences, worst_part
from npusim.analysis.recording import record_program
from npusim.api.files import read_input
from npusim.api.measuring import evaluate
from npusim.api.pricing import estimate, in_chip_types
from npusim.api.quantizing import plan_of, quantize
from npusim.api.stages import is_quantized
from npusim.errors import ConfigError
from npusim.evaluation.detection import DETECTION, Detector
from npusim.evaluation.evaluate import Evaluation
from npusim.evaluation.task import CLASSIFICATION
from npusim.ir.graph import Graph
from npusim.passes.pipeline import lower
from npusim.perfmodel.estimate import Estimate
from npusim.quantization.algorithms import Algorithm
from npusim.quantization.constrain import constrain
from npusim.quantization.dataset import Dataset, open_dataset
from npusim.quantization.groups import named_concats
from npusim.quantization.hybrid.choice import resolve_layers
from npusim.quantization.images import SUFFIXES, read_image
from npusim.quantization.input_text import file_text, input_text
from npusim.quantization.job import Quantization
from npusim.quantization.plan import Plan, Samples
from npusim.quantization.schemes import Range, Scheme
from npusim.report.page.contents import Contents, Front, Remedy, Trial
from npusim.report.page.numbers import NO_ERROR_DB
from npusim.report.page.verdict import Root, roots_of
from npusim.runtime.program import Program
from npusim.tuning.tune import Tuning

TRIALS = 5  # causes whose remedy is tried
Progress = Callable[[int, int, str], None]
Feeds = Mapping[str, NDArray[Any]]
Files = str | Path | Sequence[str | Path]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What to measure; the fields are the parameters of ``npusim.report``.

    ``model`` and ``vs_model`` are what the user gave; ``names`` are class names where labels are
    numbers.
    """

    graph: Graph
    dataset: str | Path | Samples | None = None
    quantized: Graph | None = None
    scheme: Scheme = Scheme.U8
    algorithm: Algorithm | str = "normal"
    files: Files | None = None
    labelled: str | Path | None = None
    labels: Sequence[str] = ()
    names: Sequence[str] = ()
    label_offset: int = 0
    detector: Detector | None = None
    images: str | Path | None = None
    vs: Graph | None = None
    level: int = 3
    model: str = ""
    vs_model: str = ""

    @property
    def is_priced_only(self) -> bool:
        """Tell whether there is nothing to compare with float."""
        given = (self.dataset, self.files, self.quantized)
        return is_quantized(self.graph) or all(value is None for value in given)


def measure(request: Request, progress: Progress | None = None) -> Contents:
    """Return what a page of the request shows."""
    graph = request.graph
    model = request.model or graph.source.path or graph.name
    detector = request.detector.measure(graph) if request.detector else None
    if request.is_priced_only:
        if detector is not None and request.labelled is None:
            raise ConfigError(
                "there is nothing to find boxes in",
                where=words.say("decoder"),
                rule="boxes are those of a sample, float and quantized, or of a labelled set",
                remedy="give a dataset, the files of one sample, or a labelled set",
            )
        if request.quantized is not None:
            raise ConfigError(
                "two quantized models, and no float source",
                rule="a report compares a quantized model with the float model it was made from",
                remedy="give the float model first",
            )
        contents = priced(graph, request.scheme, request.level, model=model)
    else:
        contents = replace(_analysed(request, progress), model=model, detector=detector)
    if request.labelled is not None:
        found = _evaluated(request, contents, progress)
        warnings = (*contents.warnings, *filter(None, [found.at_chance]))
        contents = replace(contents, evaluation=found, warnings=warnings)
    if request.vs is not None:
        name = request.vs_model or request.vs.source.path or request.vs.name
        second = _second(request.vs, request, contents, progress)
        contents = replace(contents, other=replace(second, model=name))
    return replace(contents, labels=tuple(request.labels or request.names))


def _evaluated(request: Request, contents: Contents, progress: Progress | None) -> Evaluation:
    graph, ready = request.graph, contents.network
    assert isinstance(ready, Graph)
    assert request.labelled is not None
    networks = {} if is_quantized(graph) else {"float": graph}
    return evaluate(
        networks | {request.scheme.value: ready},
        request.labelled,
        labels=request.labels,
        label_offset=request.label_offset,
        **_task(request),
        optimization_level=request.level,
        progress=None if progress is None else lambda i, n: progress(i, n, "labelled set"),
    )


def _task(request: Request) -> dict[str, Any]:
    """Return what ``evaluate`` measures: boxes where it is known how they are found."""
    found = request.detector
    if found is None:
        return {"task": CLASSIFICATION}
    return {
        "task": DETECTION,
        "decoder": found.decoder,
        "anchors": found.anchors,
        "priors": found.priors,
        "images": request.images,
    }


def priced(
    graph: Graph, scheme: Scheme, level: int, *, model: str, found: Estimate | None = None
) -> Contents:
    """Return the contents of a page without accuracy."""
    ready = lower(in_chip_types(graph, scheme, level), level=level)
    return Contents(network=ready, model=model, estimate=found or estimate(ready))


class _Samples:
    """Where the sample and the calibration data come from."""

    def __init__(
        self,
        graph: Graph,
        dataset: str | Path | Samples | None,
        files: Files | None,
    ) -> None:
        self.path = str(dataset) if isinstance(dataset, str | Path) else ""
        opened = open_dataset(dataset, graph) if isinstance(dataset, str | Path) else dataset
        self.samples: Samples | None = opened
        if opened is not None and not isinstance(opened, Sized):
            self.samples = list(opened)
        self.count = len(self.samples) if isinstance(self.samples, Sized) else 0
        self.feeds: Feeds
        if files is not None:
            paths = [Path(p) for p in ([files] if isinstance(files, str | Path) else files)]
            self.label, self.feeds = " ".join(p.name for p in paths), read_input(graph, paths)
        else:
            self.label, self.feeds = next(iter(self.samples or ()), ("", {}))
            paths = list(opened.entries[0].paths) if isinstance(opened, Dataset) else []
        self.picture = _picture(paths, graph)
        self.taken_as = tuple(
            input_text(name, spec, how, file_text(path, spec, how))
            for name, path in zip(graph.inputs, paths, strict=False)
            for spec, how in [(graph.spec(name), graph.preprocess.get(name))]
        )


def _picture(paths: Sequence[Path], graph: Graph) -> NDArray[Any] | None:
    """Return the pixels of the only file of a sample, where that is a picture."""
    if len(paths) != 1 or paths[0].suffix.lower() not in SUFFIXES:
        return None
    channels = graph.spec(graph.inputs[0]).shape[1]
    pixels, _ = read_image(paths[0], channels)
    return pixels[:, :, 0] if channels == 1 else pixels


def _analysed(request: Request, progress: Progress | None) -> Contents:
    graph, level = request.graph, request.level
    given = _Samples(graph, request.dataset, request.files)
    if not given.feeds:
        raise ConfigError(
            "there is no sample",
            rule="a report with accuracy runs one sample, float and quantized",
            remedy="give a dataset, or the files of one sample",
        )
    job: Quantization | None = None
    ranges: dict[str, Range] = {}
    if request.quantized is not None:
        ready = request.quantized
    elif request.scheme is Scheme.F16:
        ready = quantize(graph, given.samples, scheme=request.scheme, optimization_level=level)
    else:
        job = Quantization(graph, _plan(request, given))
        ranges = job.measure(progress)
        ready = job.quantized(ranges, job.formats)
    program = Program(lower(ready, level=level).copy(batch=1))
    contents = analysed(graph, program, given.feeds, sample=given.label, progress=progress)
    if job is not None:
        contents = replace(contents, trials=tried(job, ranges, contents, level, progress))
    return replace(
        contents,
        taken_as=given.taken_as,
        picture=given.picture,
        dataset=given.path,
        samples=given.count,
    )


def _plan(request: Request, given: "_Samples") -> Plan:
    return plan_of(
        dataset=given.samples,
        scheme=request.scheme,
        algorithm=request.algorithm,
        optimization_level=request.level,
        equalize=None,
        bias_correction=False,
        engine="auto",
    )


def analysed(
    graph: Graph,
    program: Program,
    feeds: Feeds,
    *,
    sample: str,
    analysis: Analysis | None = None,
    progress: Progress | None = None,
) -> Contents:
    """Return the contents of a page of one quantized network and its float source."""
    found = analysis or analyze(graph, program, feeds, sample=sample, progress=progress)
    return Contents(
        network=program.graph,
        model=graph.source.path or graph.name,
        analysis=found,
        estimate=estimate(program),
        feeds=feeds,
        sample=sample,
    )


def compared(ready: Graph, feeds: Feeds, found: Comparison, *, sample: str, level: int) -> Contents:
    """Return the contents of a page of a comparison with another run."""
    network = lower(ready, level=level)
    return Contents(
        network=network,
        model="",
        comparison=found,
        estimate=estimate(network),
        feeds=feeds,
        sample=sample,
    )


def evaluated(networks: Mapping[str, Graph], found: Evaluation, level: int) -> Contents:
    """Return the contents of a page of a labelled set: of the first network the chip runs."""
    graphs = [graph for graph in networks.values() if is_quantized(graph)]
    shown = graphs[0] if graphs else next(iter(networks.values()))
    return replace(priced(shown, Scheme.U8, level, model=""), evaluation=found)


def tuned(found: Tuning) -> Contents:
    """Return the contents of a page of a search: the best choice, beside nothing raised."""
    points = [point for point in (found.best, found.base) if point is not None]
    if not points:
        raise ConfigError("nothing was measured", rule="a page shows a choice of layers")
    graphs = [found.lowered(point) for point in points]
    pages = [
        Contents(network=graph, model="nothing raised", estimate=estimate(graph))
        for graph in graphs
    ]
    front = Front(
        metric=found.metric,
        budget_us=found.budget_us,
        base=asdict(found.base) if found.base else None,
        best=asdict(found.best) if found.best else None,
        points=tuple(asdict(point) for point in found.front),
    )
    return replace(pages[0], other=pages[-1], front=front)


def tried(
    job: Quantization,
    ranges: Mapping[str, Range],
    contents: Contents,
    level: int,
    progress: Progress | None = None,
) -> dict[str, tuple[Trial, ...]]:
    """Return what remedies of the worst causes gain and cost, measured on the sample."""
    analysis, network, base = contents.analysis, contents.network, contents.estimate
    if analysis is None or base is None or not isinstance(network, Graph):
        return {}
    tensors = {row.layer: row.tensor for row in analysis.layers}
    before = _errors(network, analysis, {o.tensor: o.real for o in analysis.entire.layers})
    roots = roots_of(analysis, network)[:TRIALS]
    found = {}
    for done, root in enumerate(roots):
        trials = []
        for remedy, layers, graph in _repaired(job, ranges, root, network):
            program = Program(lower(graph, level=level).copy(batch=1))
            run = record_program(program, contents.feeds, preprocessed=True)
            after = _errors(network, analysis, {o.tensor: o.real for o in run.layers})
            outputs = [name for name in network.outputs if name in before and name in after]
            own = tensors[root.layer]
            trials.append(
                Trial(
                    remedy=remedy,
                    layers=layers,
                    cost_us=estimate(program).total_time_us - base.total_time_us,
                    gain_db=min(after[n] for n in outputs) - min(before[n] for n in outputs),
                    own_gain_db=after[own] - before[own] if own in after else 0.0,
                )
            )
        found[root.layer] = tuple(trials)
        if progress:
            progress(done + 1, len(roots), root.layer)
    return found


def _repaired(
    job: Quantization, ranges: Mapping[str, Range], root: Root, network: Graph
) -> Iterator[tuple[Remedy, tuple[str, ...], Graph]]:
    """Yield remedies with the network quantized that way; nothing is calibrated again."""
    if root.raised and job.formats.default in (Scheme.U8, Scheme.I8):
        wider = dict.fromkeys(root.raised, Scheme.I16)
        known = resolve_layers(wider, job.graph, job.source, default=job.formats.default)
        formats = replace(job.formats, layers=known)
        yield Remedy.WIDER, root.raised, job.quantized(ranges, formats)
    joins = {node.layer_id for node in network.nodes if node.op == "concat"}
    if root.kind == Cause.MIXED_CONCAT.value and root.layer in joins and job.calibration:
        apart = named_concats(job.graph, (root.layer,))
        own = constrain(job.graph, job.calibration.ranges, era=job.plan.toolkit, apart=apart)
        yield Remedy.APART, (root.layer,), job.quantized(own, job.formats)


def _errors(
    network: Graph, analysis: Analysis, values: Mapping[str, NDArray[Any]]
) -> dict[str, float]:
    """Return the SQNR of tensors against float, of their worst parts; at most ``NO_ERROR_DB``."""
    tensors = {name for node in network.nodes for name in node.outputs}
    parts = output_parts(network)
    found = {}
    for name, value in values.items():
        known = analysis.values.get(name)
        if name not in tensors or known is None or known.shape != value.shape:
            continue
        split = worst_part(part_differences(parts.of(name, known), value, known))
        whole = difference(value, known) if split is None else split.difference
        found[name] = min(whole.sqnr_db, NO_ERROR_DB)
    return found


def _second(vs: Graph, request: Request, contents: Contents, progress: Progress | None) -> Contents:
    """Return the run to show beside: analysed on the same sample where that says something."""
    graph, level, scheme = request.graph, request.level, request.scheme
    shapes, own = ({n: g.spec(n).shape for n in g.inputs} for g in (vs, graph))
    if shapes != own or contents.analysis is None:
        return priced(vs, scheme, level, model="")
    source = vs
    if is_quantized(vs):
        if not _is_made_from(vs, graph):
            return priced(vs, scheme, level, model="")
        source, ready = graph, vs
    else:
        ready = quantize(
            vs,
            request.dataset,
            scheme=scheme,
            algorithm=request.algorithm,
            optimization_level=level,
        )
    program = Program(lower(ready, level=level).copy(batch=1))
    return analysed(source, program, contents.feeds, sample=contents.sample, progress=progress)


def _is_made_from(quantized: Graph, graph: Graph) -> bool:
    """Tell whether a quantized graph comes from the same source, with the same preprocessing."""
    one, other = quantized.source, graph.source
    same = (one.framework, one.sha256) == (other.framework, other.sha256)
    named = bool(one.sha256) or quantized.name == graph.name
    return same and named and quantized.preprocess == graph.preprocess

"""Measure a network and make one page of it."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from npusim.analysis.analyze import Analysis, analyze
from npusim.analysis.metrics import difference
from npusim.analysis.recording import record_program
from npusim.api.files import read_input
from npusim.api.measuring import evaluate
from npusim.api.pricing import estimate, in_chip_types
from npusim.api.quantizing import plan_of, quantize
from npusim.api.stages import is_quantized
from npusim.errors import ConfigError
from npusim.ir.graph import Graph
from npusim.passes.pipeline import lower
from npusim.perfmodel.estimate import Estimate
from npusim.quantization.algorithms import Algorithm
from npusim.quantization.dataset import Dataset, open_dataset
from npusim.quantization.hybrid.choice import resolve_layers
from npusim.quantization.input_text import file_text, input_text
from npusim.quantization.job import Quantization
from npusim.quantization.plan import Samples
from npusim.quantization.schemes import Range, Scheme, scheme_of
from npusim.report.page.contents import Contents, Trial
from npusim.report.page.data import page_data
from npusim.report.page.numbers import NO_ERROR_DB
from npusim.report.page.node_data import write_node_data
from npusim.report.page.verdict import raised_by
from npusim.report.page.write import require_templates, write_page
from npusim.runtime.program import Program

TRIALS = 5  # causes whose remedy is tried
Progress = Callable[[int, int, str], None]
Feeds = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A report on a network.

    Attributes
    ----------
    data : dict
        Everything the page shows, as plain values (docs/report.md).
    contents : Contents
        What was measured: the analysis, the estimate and the rest, as records.
    """

    data: dict[str, Any]
    contents: Contents = field(repr=False)

    @property
    def verdict(self) -> str:
        """Return the verdict in one sentence."""
        return str(self.data["head"]["verdict"])

    def write(self, path: str | Path) -> Path:
        """Write the page: one HTML file that needs no network; completely or not at all.

        Raises
        ------
        ConfigError
            When the file cannot be written.
        MissingExtraError
            Without Jinja2: ``python -m pip install 'npusim[report]'``.
        """
        return write_page(self.data, path)

    def write_node_data(self, path: str | Path) -> Path:
        """Write errors, times, engines and formats for AI Edge Model Explorer.

        Raises
        ------
        ConfigError
            When the file cannot be written.
        """
        return write_node_data(self.data, path)


def report(
    graph: Graph,
    dataset: str | Path | Samples | None = None,
    *,
    output: str | Path | None = None,
    quantized: Graph | None = None,
    scheme: Scheme | str = Scheme.U8,
    algorithm: Algorithm | str = "normal",
    files: str | Path | Sequence[str | Path] | None = None,
    labelled: str | Path | None = None,
    labels: Sequence[str] = (),
    label_offset: int = 0,
    vs: Graph | None = None,
    node_data: str | Path | None = None,
    optimization_level: int = 3,
    progress: Progress | None = None,
) -> Report:
    """Measure a network, and say on one page which layer is off, why, what to do and its cost.

    The worst causes are tried: their layers are raised to i16, and what that gains and costs is
    measured.

    Parameters
    ----------
    graph : Graph
        Float source from ``load_model``; or a quantized graph, which is priced only.
    dataset : path or iterable of (label, feeds), optional
        Calibration samples, as for ``quantize``; the first is the sample that is analysed, unless
        ``files`` are given. Without any, the network is priced only.
    output : path, optional
        Write the page there: one HTML file.
    quantized : Graph, optional
        Analyse this, made from ``graph``, instead of quantizing here.
    scheme, algorithm, optimization_level
        As for ``quantize``.
    files : path, or sequence of paths, optional
        The sample: one picture or npy file per input.
    labelled : path, optional
        A labelled set, as for ``evaluate``: accuracy of float and quantized go into the page.
    labels : sequence of str
        Class names.
    label_offset : int
        As for ``evaluate``.
    vs : Graph, optional
        A second network to show beside this one: a quantized one, or a float one.
    node_data : path, optional
        Write what the page colours for AI Edge Model Explorer there.
    progress : callable, optional
        Called with (done, all of it or 0, what).

    Returns
    -------
    Report
        ``write`` writes the page, ``data`` holds what is on it.

    Raises
    ------
    ConfigError
        When choices do not go together, or a file cannot be written.
    DatasetError
        When the samples cannot be used.
    MissingExtraError
        When a page is wanted and Jinja2 is missing.

    Examples
    --------
    >>> import npusim
    >>> from npusim import assets
    >>> graph = npusim.load_model(assets.model_path(), input_shapes={"x": (1, 3, 48, 192)})
    >>> npusim.report(graph).verdict
    '0.64 ms a run on rk1808; accuracy was not measured.'
    """
    if output is not None:
        require_templates()
    begin = time.perf_counter()
    with gathered() as warnings:
        contents = measure(
            graph,
            dataset,
            quantized=quantized,
            scheme=scheme,
            algorithm=algorithm,
            files=files,
            labelled=labelled,
            labels=labels,
            label_offset=label_offset,
            vs=vs,
            optimization_level=optimization_level,
            progress=progress,
        )
    made = finished(contents, warnings, begin)
    if output is not None:
        made.write(output)
    if node_data is not None:
        made.write_node_data(node_data)
    return made


def finished(contents: Contents, warnings: Sequence[str], begin: float) -> Report:
    """Return the report of what was measured since ``begin`` (of ``time.perf_counter``)."""
    contents = replace(
        contents,
        warnings=(*contents.warnings, *dict.fromkeys(warnings)),
        created=datetime.now().astimezone().isoformat(timespec="seconds"),
        duration_s=time.perf_counter() - begin,
    )
    return Report(data=page_data(contents), contents=contents)


@contextmanager
def gathered() -> Iterator[list[str]]:
    """Yield the list that warnings of npusim go into while the block runs."""
    lines: list[str] = []

    class Gather(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    handler = Gather(level=logging.WARNING)
    logger = logging.getLogger("npusim")
    logger.addHandler(handler)
    try:
        yield lines
    finally:
        logger.removeHandler(handler)


def measure(
    graph: Graph,
    dataset: str | Path | Samples | None = None,
    *,
    quantized: Graph | None = None,
    scheme: Scheme | str = Scheme.U8,
    algorithm: Algorithm | str = "normal",
    files: str | Path | Sequence[str | Path] | None = None,
    labelled: str | Path | None = None,
    labels: Sequence[str] = (),
    label_offset: int = 0,
    vs: Graph | None = None,
    optimization_level: int = 3,
    model: str = "",
    vs_model: str = "",
    progress: Progress | None = None,
) -> Contents:
    """Return what ``report`` shows; its parameters are described there.

    ``model`` and ``vs_model`` are what the user gave.
    """
    model = model or graph.source.path or graph.name
    wanted, level = scheme_of(scheme), optimization_level
    if is_quantized(graph):
        if quantized is not None:
            raise ConfigError(
                "two quantized models, and no float source",
                rule="a report compares a quantized model with the float model it was made from",
                remedy="give the float model first",
            )
        contents = priced(graph, wanted, level, model=model)
    elif dataset is None and files is None and quantized is None:
        contents = priced(graph, wanted, level, model=model)
    else:
        contents = _analysed(
            graph,
            _Samples(graph, dataset, files),
            quantized=quantized,
            scheme=wanted,
            algorithm=algorithm,
            level=level,
            model=model,
            progress=progress,
        )
    if labelled is not None:
        assert isinstance(contents.network, Graph)
        networks = {} if is_quantized(graph) else {"float": graph}
        networks[wanted.value] = contents.network
        found = evaluate(
            networks,
            labelled,
            labels=labels,
            label_offset=label_offset,
            optimization_level=level,
            progress=None if progress is None else lambda i, n: progress(i, n, "labelled set"),
        )
        contents = replace(contents, evaluation=found)
    if vs is not None:
        contents = replace(
            contents,
            other=_second(
                vs,
                graph,
                dataset,
                contents,
                wanted,
                algorithm,
                level,
                vs_model or vs.source.path or vs.name,
                progress,
            ),
        )
    return replace(contents, labels=tuple(labels))


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
        files: str | Path | Sequence[str | Path] | None,
    ) -> None:
        self.path = str(dataset) if isinstance(dataset, str | Path) else ""
        opened = open_dataset(dataset, graph) if isinstance(dataset, str | Path) else dataset
        self.samples: Samples | None = opened
        if opened is not None and not isinstance(opened, Sized):
            self.samples = list(opened)
        self.count = len(self.samples) if isinstance(self.samples, Sized) else 0
        self.taken_as: tuple[str, ...] = ()
        if files is not None:
            paths = [Path(p) for p in ([files] if isinstance(files, str | Path) else files)]
            self.label, self.feeds = " ".join(p.name for p in paths), read_input(graph, paths)
        else:
            self.label, self.feeds = next(iter(self.samples or ()), ("", {}))
            paths = list(opened.entries[0].paths) if isinstance(opened, Dataset) else []
        self.taken_as = tuple(
            input_text(name, graph.spec(name), graph.preprocess.get(name), text)
            for name, path in zip(graph.inputs, paths, strict=False)
            if (text := file_text(path, graph.spec(name)))
        )


def _analysed(
    graph: Graph,
    given: _Samples,
    *,
    quantized: Graph | None,
    scheme: Scheme,
    algorithm: Algorithm | str,
    level: int,
    model: str,
    progress: Progress | None,
) -> Contents:
    if not given.feeds:
        raise ConfigError(
            "there is no sample",
            rule="a report with accuracy runs one sample, float and quantized",
            remedy="give a dataset, or the files of one sample",
        )
    job: Quantization | None = None
    ranges: dict[str, Range] = {}
    if quantized is not None:
        ready = quantized
    elif scheme is Scheme.F16:
        ready = quantize(graph, given.samples, scheme=scheme, optimization_level=level)
    else:
        plan = plan_of(
            dataset=given.samples,
            scheme=scheme,
            algorithm=algorithm,
            optimization_level=level,
            equalize=None,
            bias_correction=False,
            engine="auto",
        )
        job = Quantization(graph, plan)
        ranges = job.measure(progress)
        ready = job.quantized(ranges, job.formats)
    program = Program(lower(ready, level=level).copy(batch=1))
    contents = analysed(graph, program, given.feeds, sample=given.label, progress=progress)
    if job is not None:
        contents = replace(contents, trials=tried(job, ranges, contents, level, progress))
    return replace(
        contents,
        model=model,
        taken_as=given.taken_as,
        dataset=given.path,
        samples=given.count,
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


def tried(
    job: Quantization,
    ranges: Mapping[str, Range],
    contents: Contents,
    level: int,
    progress: Progress | None = None,
) -> dict[str, Trial]:
    """Return what raising the layers of the worst causes to i16 gains and costs, measured."""
    analysis, network, base = contents.analysis, contents.network, contents.estimate
    if analysis is None or base is None or not isinstance(network, Graph):
        return {}
    if job.formats.default not in (Scheme.U8, Scheme.I8):
        return {}
    wanted = raised_by(analysis, network, most=TRIALS)
    if not wanted:
        return {}
    tensors = {row.layer: row.tensor for row in analysis.layers}
    before = _errors(network, analysis, {o.tensor: o.real for o in analysis.entire.layers})
    found = {}
    for done, (cause, layers) in enumerate(wanted.items()):
        known = resolve_layers(
            dict.fromkeys(layers, Scheme.I16),
            job.graph,
            job.source,
            default=job.formats.default,
        )
        ready = lower(job.quantized(ranges, replace(job.formats, layers=known)), level=level)
        program = Program(ready.copy(batch=1))
        run = record_program(program, contents.feeds, preprocessed=True)
        after = _errors(network, analysis, {o.tensor: o.real for o in run.layers})
        outputs = [name for name in network.outputs if name in before and name in after]
        own = tensors[cause]
        found[cause] = Trial(
            layers=layers,
            cost_us=estimate(program).total_time_us - base.total_time_us,
            gain_db=min(after[n] for n in outputs) - min(before[n] for n in outputs),
            own_gain_db=after[own] - before[own] if own in after and own in before else 0.0,
        )
        if progress:
            progress(done + 1, len(wanted), cause)
    return found


def _errors(
    network: Graph, analysis: Analysis, values: Mapping[str, NDArray[Any]]
) -> dict[str, float]:
    """Return the SQNR of tensors against float, at most ``NO_ERROR_DB``."""
    tensors = {name for node in network.nodes for name in node.outputs}
    return {
        name: min(difference(value, analysis.values[name]).sqnr_db, NO_ERROR_DB)
        for name, value in values.items()
        if name in tensors and name in analysis.values
    }


def _second(
    vs: Graph,
    graph: Graph,
    dataset: str | Path | Samples | None,
    contents: Contents,
    scheme: Scheme,
    algorithm: Algorithm | str,
    level: int,
    name: str,
    progress: Progress | None,
) -> Contents:
    """Return the run to show beside: analysed on the same sample where that says something."""
    same = {n: vs.spec(n).shape for n in vs.inputs} == {
        n: graph.spec(n).shape for n in graph.inputs
    }
    if not same or not contents.feeds or contents.analysis is None:
        return priced(vs, scheme, level, model=name)
    if is_quantized(vs):
        from_here = vs.source.sha256 == graph.source.sha256 and vs.preprocess == graph.preprocess
        if not from_here or not graph.source.sha256:
            return priced(vs, scheme, level, model=name)
        program = Program(lower(vs, level=level).copy(batch=1))
        found = analysed(
            graph, program, contents.feeds, sample=contents.sample, progress=progress
        )
    else:
        ready = quantize(
            vs, dataset, scheme=scheme, algorithm=algorithm, optimization_level=level
        )
        program = Program(lower(ready, level=level).copy(batch=1))
        found = analysed(vs, program, contents.feeds, sample=contents.sample, progress=progress)
    return replace(found, model=name)

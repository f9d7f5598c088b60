"""Measure a network and make one page of it."""

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from npusim.api.quantizing import quantize
from npusim.api.report_run import Files, Progress, Request, measure
from npusim.evaluation.detection import Detector, detector_of
from npusim.evaluation.labelled import named_labels
from npusim.ir.graph import Graph
from npusim.quantization.algorithms import Algorithm
from npusim.quantization.plan import Samples
from npusim.quantization.schemes import Scheme, scheme_of
from npusim.report.page.contents import Contents, Remedy
from npusim.report.page.data import page_data
from npusim.report.page.node_data import write_node_data
from npusim.report.page.write import require_templates, write_page


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

    def write_node_data(self, path: str | Path) -> list[Path]:
        """Write errors, times, engines and formats for AI Edge Model Explorer, a file each.

        ``x.json`` gives ``x-error-alone.json`` and so on; returns the files.

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
    files: Files | None = None,
    labelled: str | Path | None = None,
    labels: str | Path | Sequence[str] = (),
    label_offset: int = 0,
    decoder: str = "",
    anchors: str | Sequence[float] = (),
    priors: str | Path | Sequence[Sequence[float]] = (),
    images: str | Path | None = None,
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
    labels : path, or sequence of str
        Class names, or a file with one a line.
    label_offset : int
        As for ``evaluate``.
    decoder, anchors, priors, images
        Of a detector, as for ``evaluate``: boxes of float and quantized are drawn over the sample's
        picture, and a labelled set is one of boxes.
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
    '3.31 ms a run on rk1808; accuracy was not measured.'
    """
    if output is not None:
        require_templates()
    begin = time.perf_counter()
    request = Request(
        graph=graph,
        dataset=dataset,
        quantized=quantized,
        scheme=scheme_of(scheme),
        algorithm=algorithm,
        files=files,
        labelled=labelled,
        labels=named_labels(labels),
        label_offset=label_offset,
        detector=chosen_detector(decoder, anchors=anchors, priors=priors, offset=label_offset),
        images=images,
        vs=vs,
        level=optimization_level,
    )
    with gathered() as warnings:
        contents = measure(request, progress)
    contents = replace(contents, repair=None if quantized is not None else _repair)
    made = finished(contents, warnings, begin)
    if output is not None:
        made.write(output)
    if node_data is not None:
        made.write_node_data(node_data)
    return made


def chosen_detector(
    decoder: str,
    *,
    anchors: str | Sequence[float],
    priors: str | Path | Sequence[Sequence[float]],
    offset: int,
) -> Detector | None:
    """Return the detector of a report; None without a decoder, and anchors mean nothing then.

    Raises
    ------
    ConfigError
        When a choice cannot be used, or needs a decoder and has none.
    """
    if not decoder and not isinstance(priors, Path) and not len(anchors) and not len(priors):
        return None
    return detector_of(decoder, anchors=anchors, priors=priors, offset=offset)


def _repair(remedy: Remedy, layers: tuple[str, ...]) -> str:
    """Return the call that quantizes again with a remedy."""
    choice = {
        Remedy.WIDER: f"layers={dict.fromkeys(layers, 'i16')!r}",
        Remedy.APART: f"no_join={list(layers)!r}",
        Remedy.MMSE: "algorithm='mmse'",
        Remedy.EQUALIZE: "equalize='restrict'",
    }[remedy]
    return f"npusim.{quantize.__name__}(graph, dataset, {choice})"


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

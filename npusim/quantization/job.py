"""One quantization from float graph to quantized graph, step by step."""

import logging
from collections.abc import Callable, Mapping, Sized
from dataclasses import replace
from pathlib import Path

from npusim import words
from npusim.errors import QuantizationError
from npusim.explain import see
from npusim.ir.dtypes import DType
from npusim.ir.graph import Graph
from npusim.ir.quant import Quant
from npusim.passes.driver import check_parameters
from npusim.passes.pipeline import optimize
from npusim.quantization.apply import Formats, apply_formats
from npusim.quantization.avoid_faults import avoid_driver_faults
from npusim.quantization.bias_correction import correct_bias, corrected_layers
from npusim.quantization.calibrate import Calibration
from npusim.quantization.changed import CORRECTED
from npusim.quantization.channel_stats import ChannelStats, channel_stats
from npusim.quantization.constrain import constrain
from npusim.quantization.dataset import open_dataset
from npusim.quantization.drowned import clipped_fills, drowned
from npusim.quantization.equalize import Equalization, Relu6, equalize, relu6_inputs
from npusim.quantization.float16 import to_float16
from npusim.quantization.groups import named_concats
from npusim.quantization.hybrid.cfg import write_cfg
from npusim.quantization.hybrid.choice import resolve_layers
from npusim.quantization.hybrid.records import edited, ranges_in_cfg, records_of
from npusim.quantization.losses import SHOWN, losses, sigmoid_cuts
from npusim.quantization.masks import calibrate_masked
from npusim.quantization.plan import Plan, Samples, unused_without_calibration
from npusim.quantization.schemes import Range, Scheme
from npusim.quantization.tables import with_whole_tables
from npusim.reference.float_engine import checked_engine

log = logging.getLogger("npusim")
# (samples done over all passes, samples of all passes or 0 when unknown, label of the last)
Progress = Callable[[int, int, str], None]


def execute(source: Graph, plan: Plan, *, progress: Progress | None = None) -> Graph:
    """Return the quantized graph of a float graph; what was done is in its notes.

    Parameters
    ----------
    source : Graph
        Float graph from an importer.
    plan : Plan
    progress : callable, optional
        Called with (samples done, samples of all passes or 0 when unknown, label of the last).

    Raises
    ------
    QuantizationError
        For a model that came quantized, and for ranges that are not finite.
    DatasetError, ConfigError
        When the dataset or a cfg file cannot be used.
    """
    job = Quantization(source, plan)
    if plan.is_float16 and plan.measured is None:
        if unused := unused_without_calibration(plan.algorithm.name, plan.toolkit, plan.no_join):
            log.warning("%s %s", unused, see("unused-choices"))
        return to_float16(job.graph)
    return job.quantized(job.measure(progress), job.formats)


def equalized(
    graph: Graph,
    relu6: Relu6,
    samples: Samples | None,
    *,
    engine: str = "auto",
    progress: Callable[[int, str], None] | None = None,
) -> Equalization:
    """Return the equalized graph and what was done; the samples show which channels reach 6."""
    checked_engine(engine)
    stats = None
    if relu6 is Relu6.RESTRICT and samples is not None and (tensors := relu6_inputs(graph)):
        stats = channel_stats(graph, samples, tensors, engine=engine, progress=progress)
    return equalize(graph, relu6=relu6, stats=stats)


class Quantization:
    """A plan on its way, in steps that others can take apart.

    Parameters
    ----------
    source : Graph
        Float graph from an importer.
    plan : Plan

    Attributes
    ----------
    source : Graph
    graph : Graph
        After the float passes; its tensors are the ones that are calibrated.
    formats : Formats
    calibration : Calibration or None
        What ``measure`` found before tensors that share a range were joined.
    notes : tuple of str
        What was done so far, for the graph's notes.

    Raises
    ------
    QuantizationError
        For a model that came quantized.
    GraphError
        When a parameter of a layer is computed by the network.
    """

    def __init__(self, source: Graph, plan: Plan) -> None:
        halves = any(source.spec(name).dtype is DType.F16 for name in source.inputs)
        if source.is_quantized or halves:
            raise QuantizationError(
                f"the model is already {'float16' if halves else 'quantized'}",
                where=source.source.path or source.name,
                rule="quantization starts from a float model",
                remedy=f"keep its own parameters ({words.say('keep_parameters')}), or load the "
                "float model",
            )
        self.source, self.plan = source, plan
        splits = plan.toolkit.splits_deconv and plan.scheme is Scheme.U8
        self.graph = optimize(source, level=plan.level, splits_deconv=splits)
        check_parameters(self.graph)
        self.formats = Formats(
            default=plan.scheme,
            layers=resolve_layers(plan.layers, self.graph, source, default=plan.scheme),
            era=plan.toolkit,
        )
        self.apart = named_concats(self.graph, plan.no_join)
        self.calibration: Calibration | None = None
        self.notes: tuple[str, ...] = ()
        self.stats: dict[str, ChannelStats] = {}
        self._samples: Samples | None = None

    @property
    def samples(self) -> Samples:
        """Return the samples of the plan's dataset, opened once."""
        if self._samples is None:
            dataset = self.plan.dataset
            if isinstance(dataset, str | Path):
                dataset = open_dataset(dataset, self.graph, limit=self.plan.sample_limit)
            self._samples = () if dataset is None else dataset
        return self._samples

    @property
    def passes(self) -> int:
        """Return how often ``measure`` reads all samples."""
        extra = self.plan.bias_correction + (
            self.plan.equalize is Relu6.RESTRICT and bool(relu6_inputs(self.graph))
        )
        return self.plan.algorithm.observer(self.plan.scheme).passes + extra

    def measure(self, progress: Progress | None = None) -> dict[str, Range]:
        """Return the range of every tensor, as ``quantized`` takes them; cfg files are done here.

        An edited cfg file changes ``formats`` as well.
        """
        plan = self.plan
        if plan.measured is not None:
            ranges, self.notes = dict(plan.measured.ranges), plan.measured.notes
        elif plan.dataset is None and plan.cfg is not None:
            ranges = ranges_in_cfg(plan.cfg, self.graph, self.source, self.formats)
            self.formats = replace(self.formats, given=frozenset(ranges))
            self.notes = (f"ranges from {plan.cfg.name}",)
        else:
            ranges = self._joined(self._calibrated(progress).ranges)
        if plan.cfg is not None:
            change = edited(plan.cfg, self.graph, self.source, ranges, self.formats)
            self.formats, ranges = change.formats, change.ranges
            for note in change.notes:
                log.warning("%s %s", note, see("cfg-numbers"))
        for text in sigmoid_cuts(self.graph, ranges, self.formats):
            log.warning("%s %s", text, see("sigmoid-range"))
        for told in (drowned, clipped_fills):
            for text in told(self.graph, ranges, self.formats):
                log.warning("%s", text)
        if plan.write_cfg is not None:
            slots = records_of(self.graph, self.source, ranges, self.formats)
            write_cfg(plan.write_cfg, [slot.record for slot in slots], {})
        return ranges

    def _joined(self, measured: Mapping[str, Range]) -> dict[str, Range]:
        """Return measured ranges with those equal that have to be; say what that costs first."""
        era, apart = self.plan.toolkit, self.apart
        ranges = constrain(self.graph, measured, era=era, apart=apart)
        found = losses(self.graph, measured, ranges, self.plan.scheme, era=era, apart=apart)
        for loss in found[:SHOWN]:
            log.warning("%s %s", loss.text(), see("shared-range"))
        if more := [loss.layer for loss in found[SHOWN:]]:
            names = ", ".join(more)
            log.warning(
                "%d more layers lose 3 bits or more in a range they share, which npusim keeps: "
                "%s %s",
                len(more),
                names,
                see("shared-range"),
            )
        return ranges

    def _calibrated(self, progress: Progress | None) -> Calibration:
        """Calibrate; equalize and measure for bias correction, which need the samples as well."""
        plan, samples = self.plan, self.samples
        told = counted(progress, len(samples) * self.passes if isinstance(samples, Sized) else 0)
        notes = []
        if plan.equalize is not None:
            done = equalized(self.graph, plan.equalize, samples, engine=plan.engine, progress=told)
            self.graph = done.graph
            notes.append(done.note)
        if plan.bias_correction:
            inputs = {node.inputs[0] for node in corrected_layers(self.graph, self.formats)}
            self.stats = channel_stats(
                self.graph, samples, inputs, engine=plan.engine, progress=told
            )
        found, masked = calibrate_masked(
            self.graph,
            samples,
            observer=lambda: plan.algorithm.observer(plan.scheme),
            scheme_of=self.formats.scheme_of,
            engine=plan.engine,
            progress=told,
        )
        found = replace(found, ranges=with_whole_tables(self.graph, found.ranges))
        self.calibration = found
        self.notes = (
            *notes,
            *masked,
            f"calibrated with {found.samples} samples: {plan.algorithm.text()}, float engine "
            f"{found.engine}",
        )
        return found

    def quantized(self, ranges: Mapping[str, Range], formats: Formats) -> Graph:
        """Return the quantized graph for measured ranges, in the job's own or other formats."""
        floats = self.with_bias_for(formats)

        def made(quants: Mapping[str, Quant]) -> Graph:
            changed = replace(formats, quants={**formats.quants, **quants})
            return apply_formats(floats, ranges, changed)

        avoided: tuple[str, ...] = ()
        graph = made({})
        if self.plan.avoid_driver_faults:
            graph, avoided = avoid_driver_faults(made, level=self.plan.level)
        listed = f", {len(formats.layers)} layers of their own" if formats.layers else ""
        note = (
            f"quantized to {formats.default.value}{listed}, rules of toolkit {formats.era.toolkit}"
        )
        if self.apart:
            note += f", not joined: {', '.join(self.apart)}"
        if self.plan.avoid_driver_faults:
            note += f", driver faults avoided at: {', '.join(avoided) or 'no layer'}"
        if self.plan.bias_correction:
            note += f", {CORRECTED}"
        return graph.copy(notes=(*graph.notes, *self.notes, note))

    def with_bias_for(self, formats: Formats) -> Graph:
        """Return the float graph with biases corrected for these formats, if that was asked for."""
        if not self.plan.bias_correction:
            return self.graph
        return correct_bias(self.graph, formats, self.stats)[0]


def counted(progress: Progress | None, total: int) -> Callable[[int, str], None] | None:
    """Return what tells a progress how many samples all passes together have read."""
    if progress is None:
        return None
    done = 0

    def told(_: int, label: str) -> None:
        nonlocal done
        done += 1
        progress(done, total, label)

    return told

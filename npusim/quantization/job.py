"""One quantization from float graph to quantized graph, step by step."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from npusim.errors import QuantizationError
from npusim.ir.graph import Graph
from npusim.passes.pipeline import optimize
from npusim.quantization.algorithms import Algorithm
from npusim.quantization.apply import Formats, apply_formats
from npusim.quantization.bias_correction import correct_bias, corrected_layers
from npusim.quantization.calibrate import Calibration, calibrate
from npusim.quantization.channel_stats import ChannelStats, channel_stats
from npusim.quantization.constrain import constrain
from npusim.quantization.dataset import open_dataset
from npusim.quantization.equalize import Relu6, equalize, relu6_inputs
from npusim.quantization.eras import DEFAULT_ERA, Era, era_of
from npusim.quantization.float16 import to_float16
from npusim.quantization.groups import named_concats
from npusim.quantization.hybrid.choice import resolve_layers
from npusim.quantization.schemes import Range, Scheme

Feeds = Mapping[str, NDArray[Any]]
Samples = Iterable[tuple[str, Feeds]]
Progress = Callable[[int, str], None]


def equalized(
    graph: Graph,
    relu6: Relu6,
    samples: Samples,
    *,
    engine: str = "auto",
    progress: Progress | None = None,
) -> tuple[Graph, str]:
    """Return the equalized graph and a note of what was done."""
    stats = None
    if relu6 is Relu6.RESTRICT and (tensors := relu6_inputs(graph)):
        stats = channel_stats(graph, samples, tensors, engine=engine, progress=progress)
    done = equalize(graph, relu6=relu6, stats=stats)
    return done.graph, done.note


class Quantization:
    """What ``npusim.quantize`` does, in steps that others can take apart.

    Parameters
    ----------
    source : Graph
        Float graph from an importer.
    scheme, layers, algorithm, level
        See ``npusim.quantize``.
    equalized : Relu6 or None
        Cross-layer equalization, and what it does with relu6.
    corrected : bool
        Bias correction.
    toolkit : Era or str
        Release whose rules for ranges count, for example ``"1.7.3"``; see
        ``npusim.quantization.eras``.
    apart : sequence of str
        Concats (names or layer ids) whose parts keep ranges of their own.

    Attributes
    ----------
    source : Graph
    graph : Graph
        After the float passes; its tensors are the ones that are calibrated.
    formats : Formats

    Raises
    ------
    QuantizationError
        For a model that came quantized.
    """

    def __init__(
        self,
        source: Graph,
        *,
        scheme: Scheme = Scheme.U8,
        layers: Mapping[str, Scheme] | None = None,
        algorithm: Algorithm | None = None,
        level: int = 3,
        equalized: Relu6 | None = None,
        corrected: bool = False,
        toolkit: Era | str = DEFAULT_ERA,
        apart: Sequence[str] = (),
    ) -> None:
        if source.is_quantized:
            raise QuantizationError(
                "the model is already quantized",
                where=source.source.path or source.name,
                rule="quantization starts from a float model",
                remedy="keep its own parameters (npusim.float16(graph), "
                "RKNN.build(do_quantization=False), no --quantize), or load the float model",
            )
        self.source = source
        era = era_of(toolkit)
        self.graph = optimize(
            source, level=level, splits_deconv=era.splits_deconv and scheme is Scheme.U8
        )
        self.algorithm = algorithm or Algorithm()
        self.equalized, self.corrected = equalized, corrected
        self.formats = Formats(
            default=scheme,
            layers=resolve_layers(layers or {}, self.graph, source, default=scheme),
            era=era,
        )
        self.apart = named_concats(self.graph, apart)
        self.notes: tuple[str, ...] = ()
        self.stats: dict[str, ChannelStats] = {}

    @property
    def needs_samples(self) -> bool:
        """Tell whether anything becomes an integer."""
        schemes = {self.formats.default, *self.formats.layers.values()}
        return schemes != {Scheme.F16}

    @property
    def passes(self) -> int:
        """Return how often ``calibrate`` reads all samples."""
        extra = self.corrected + (
            self.equalized is Relu6.RESTRICT and bool(relu6_inputs(self.graph))
        )
        return self.algorithm.observer(self.formats.default).passes + extra

    def calibrate(
        self,
        dataset: str | Path | Samples,
        *,
        engine: str = "auto",
        progress: Progress | None = None,
    ) -> Calibration:
        """Return the range of every tensor, before those that share one are joined.

        Equalization happens here, and what bias correction needs is measured: both need the
        samples as well.
        """
        samples = open_dataset(dataset, self.graph) if isinstance(dataset, str | Path) else dataset
        notes = []
        if self.equalized is not None:
            self.graph, note = equalized(
                self.graph, self.equalized, samples, engine=engine, progress=progress
            )
            notes.append(note)
        if self.corrected:
            layers = corrected_layers(self.graph, self.formats)
            inputs = {node.inputs[0] for node in layers}
            self.stats = channel_stats(
                self.graph, samples, inputs, engine=engine, progress=progress
            )
        found = calibrate(
            self.graph,
            samples,
            observer=self.algorithm.observer(self.formats.default),
            engine=engine,
            progress=progress,
        )
        self.notes = (
            *notes,
            f"calibrated with {found.samples} samples: {self.algorithm.text()}, float engine "
            f"{found.engine}",
        )
        return found

    def constrained(self, ranges: Mapping[str, Range]) -> dict[str, Range]:
        """Return measured ranges with those equal that have to be."""
        return constrain(self.graph, ranges, era=self.formats.era, apart=self.apart)

    def apply(self, ranges: Mapping[str, Range]) -> Graph:
        """Return the quantized graph for measured ranges."""
        return self.apply_constrained(self.constrained(ranges))

    def apply_constrained(self, ranges: Mapping[str, Range]) -> Graph:
        """Return the quantized graph for ranges that are used as they are."""
        return self.quantized(ranges, self.formats)

    def quantized(self, ranges: Mapping[str, Range], formats: Formats) -> Graph:
        """Return the quantized graph in other formats than the job's own."""
        graph = apply_formats(self.with_bias_for(formats), ranges, formats)
        listed = f", {len(formats.layers)} layers of their own" if formats.layers else ""
        note = (
            f"quantized to {formats.default.value}{listed}, rules of toolkit {formats.era.toolkit}"
        )
        if self.corrected:
            note += ", biases corrected for the mean error of the weights"
        return graph.copy(notes=(*graph.notes, *self.notes, note))

    def with_bias_for(self, formats: Formats) -> Graph:
        """Return the float graph with biases corrected for these formats, if that was asked for."""
        if not self.corrected:
            return self.graph
        return correct_bias(self.graph, formats, self.stats)[0]

    def run(
        self,
        dataset: str | Path | Samples,
        *,
        engine: str = "auto",
        progress: Progress | None = None,
    ) -> Graph:
        """Calibrate and quantize."""
        if not self.needs_samples:
            return to_float16(self.graph)
        return self.apply(self.calibrate(dataset, engine=engine, progress=progress).ranges)

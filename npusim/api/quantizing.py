"""Float graph -> quantized graph."""

from collections.abc import Mapping, Sequence, Sized
from pathlib import Path
from typing import Literal

from npusim import words
from npusim.api.stages import is_quantized
from npusim.errors import ConfigError
from npusim.ir.graph import Graph
from npusim.passes.pipeline import optimize
from npusim.quantization.algorithms import Algorithm
from npusim.quantization.dataset import open_dataset
from npusim.quantization.equalize import Equalization, Relu6
from npusim.quantization.eras import Era, era_of
from npusim.quantization.float16 import to_float16
from npusim.quantization.job import Progress, counted, equalized, execute
from npusim.quantization.plan import Plan, Samples
from npusim.quantization.schemes import Scheme, scheme_of


def quantize(
    graph: Graph,
    dataset: str | Path | Samples | None = None,
    *,
    scheme: Scheme | str = Scheme.U8,
    layers: Mapping[str, Scheme | str] | None = None,
    algorithm: Algorithm | str = "normal",
    optimization_level: int = 3,
    equalize: Relu6 | str | None = None,
    bias_correction: bool = False,
    cfg: str | Path | None = None,
    write_cfg: str | Path | None = None,
    toolkit: Era | str = "1.7",
    no_join: Sequence[str] | str = (),
    avoid_driver_faults: bool = False,
    engine: str = "auto",
    progress: Progress | Literal[True] | None = None,
) -> Graph:
    """Return the quantized graph of a float graph.

    Parameters
    ----------
    graph : Graph
        Float graph from ``load_model``.
    dataset : path or iterable of (label, feeds), optional
        A dataset file (one sample a line) or preprocessed float32 samples. Needless for float16,
        and where all ranges come from ``cfg``.
    scheme : Scheme or str
        Any spelling of the toolkit, for example ``"asymmetric_quantized-u8"`` or ``"u8"``.
    layers : mapping, optional
        Hybrid quantization: layer name or layer id -> its own scheme.
    algorithm : Algorithm or str
        Calibration statistic: normal, moving_average, kl_divergence or mmse.
    optimization_level : int
        0..3, as in RKNN-Toolkit.
    equalize : Relu6 or str, optional
        Equalize weights across layers: "keep", "restrict" or "replace" says what to do with relu6.
        This changes the float network before it is quantized; see
        ``npusim.quantization.equalize``. What was done is in the graph's notes.
    bias_correction : bool
        Correct biases for the mean error of the weights; see
        ``npusim.quantization.bias_correction``.
    cfg : path, optional
        An edited quantization.cfg (docs/hybrid-quantization.md): formats of layers and ranges.
    write_cfg : path, optional
        Write the ranges that were found as a quantization.cfg to edit.
    toolkit : str
        Release of RKNN-Toolkit whose rules for ranges and lowering count, for example "1.7.3"
        (docs/quantization.md); "1.7" is what the releases have in common.
    no_join : str or sequence of str
        Concats (layer name or id) whose parts keep ranges of their own.
    avoid_driver_faults : bool
        Give concats that the chip's driver would get wrong (``npusim explain concat-of-views``)
        slightly other parameters, so that it copies; the notes say which. Not for float16.
    engine : {"auto", "onnxruntime", "npusim"}
        Float engine of the calibration; the one that ran is in the graph's notes.
    progress : callable or True, optional
        Called with (samples done, samples of all passes or 0 when unknown, label of the last).

    Raises
    ------
    ConfigError
        When a choice is unknown or does not go with another, or a cfg file does not fit.
    DatasetError
        When there are no samples, or some do not fit.
    QuantizationError
        When the model is quantized already, or a value is not finite.
    """
    assert progress is not True  # a bar by now (npusim.api.arguments.checked)
    plan = plan_of(
        dataset=dataset,
        scheme=scheme,
        layers=layers,
        algorithm=algorithm,
        optimization_level=optimization_level,
        equalize=equalize,
        bias_correction=bias_correction,
        cfg=cfg,
        write_cfg=write_cfg,
        toolkit=toolkit,
        no_join=no_join,
        avoid_driver_faults=avoid_driver_faults,
        engine=engine,
    )
    return execute(graph, plan, progress=progress)


def plan_of(
    *,
    dataset: str | Path | Samples | None,
    scheme: Scheme | str,
    algorithm: Algorithm | str,
    optimization_level: int,
    equalize: Relu6 | str | None,
    bias_correction: bool,
    engine: str,
    layers: Mapping[str, Scheme | str] | None = None,
    cfg: str | Path | None = None,
    write_cfg: str | Path | None = None,
    toolkit: Era | str = "1.7",
    no_join: Sequence[str] | str = (),
    avoid_driver_faults: bool = False,
) -> Plan:
    """Return the plan that the words of ``quantize`` describe."""
    return Plan(
        scheme=scheme_of(scheme),
        layers={name: scheme_of(value) for name, value in (layers or {}).items()},
        dataset=dataset,
        algorithm=Algorithm(name=algorithm) if isinstance(algorithm, str) else algorithm,
        cfg=None if cfg is None else Path(cfg),
        write_cfg=None if write_cfg is None else Path(write_cfg),
        equalize=None if equalize is None else relu6_named(equalize),
        bias_correction=bias_correction,
        engine=engine,
        level=optimization_level,
        toolkit=era_of(toolkit),
        no_join=(no_join,) if isinstance(no_join, str) else tuple(no_join),
        avoid_driver_faults=avoid_driver_faults,
    )


def float16(graph: Graph, *, optimization_level: int = 3) -> Graph:
    """Return the graph ready to compile without calibration (``do_quantization=False``).

    A float model becomes float16. A model that came quantized keeps its integers and parameters;
    only what is real in it becomes float16.
    """
    return to_float16(optimize(graph, level=optimization_level))


def equalize(
    graph: Graph,
    dataset: str | Path | Samples | None = None,
    *,
    relu6: Relu6 | str = "restrict",
    optimization_level: int = 3,
    engine: str = "auto",
    progress: Progress | Literal[True] | None = None,
) -> Equalization:
    """Equalize a float model's weights across layers: easier to quantize, the same function.

    Parameters
    ----------
    graph : Graph
        Float graph from ``load_model``; batch normalisations are folded on the way.
    dataset : path or iterable of (label, feeds), optional
        Shows which channels stay below 6, for ``relu6="restrict"``; without it such layers are
        left alone.
    relu6 : Relu6 or str
        "keep" leaves layers around relu6 alone, "restrict" scales only channels that stay below 6,
        "replace" makes it a relu, which changes the function.
    optimization_level : int
        0..3.
    engine : {"auto", "onnxruntime", "npusim"}
        What runs the float network on the dataset.
    progress : callable or True, optional
        As in ``quantize``.

    Raises
    ------
    ConfigError
        When the model is quantized, or ``relu6`` is no known word.
    DatasetError
        When the samples cannot be used.
    """
    assert progress is not True  # a bar by now (npusim.api.arguments.checked)
    if is_quantized(graph):
        raise ConfigError(
            "this model is quantized",
            where=graph.source.path or graph.name,
            rule="only float models are equalized",
        )
    ready = optimize(graph, level=optimization_level)
    samples = open_dataset(dataset, ready) if isinstance(dataset, str | Path) else dataset
    told = counted(progress, len(samples) if isinstance(samples, Sized) else 0)
    return equalized(ready, relu6_named(relu6), samples, engine=engine, progress=told)


def relu6_named(word: Relu6 | str) -> Relu6:
    """Return what to do with relu6, by its word.

    Raises
    ------
    ConfigError
        When there is no such word.
    """
    known = [mode.value for mode in Relu6]
    if isinstance(word, str) and word not in known:
        raise ConfigError(f"value {word!r}", where=words.say("relu6"), rule=", ".join(known))
    return Relu6(word)

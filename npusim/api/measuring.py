"""How good a quantized network is, and what would make it better."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from npusim import words
from npusim.api.pricing import estimate
from npusim.api.quantizing import plan_of
from npusim.environment import thread_count
from npusim.errors import ConfigError
from npusim.evaluation.annotations import open_boxes, open_masks
from npusim.evaluation.detection import DETECTION, detector_of, refuse_boxes_elsewhere
from npusim.evaluation.evaluate import Evaluation, fingerprint
from npusim.evaluation.evaluate import evaluate as evaluated
from npusim.evaluation.labelled import Item, named_labels, open_labelled
from npusim.evaluation.segmentation import SEGMENTATION
from npusim.evaluation.task import CLASSIFICATION
from npusim.evaluation.worker import FLOAT, Job
from npusim.ir.graph import Graph
from npusim.passes.pipeline import lower
from npusim.quantization.algorithms import Algorithm
from npusim.quantization.equalize import Relu6
from npusim.quantization.eras import Era
from npusim.quantization.job import Progress as Calibrating
from npusim.quantization.job import Quantization
from npusim.quantization.plan import Samples
from npusim.quantization.schemes import Scheme, scheme_of
from npusim.tuning.search import Progress
from npusim.tuning.tune import Tuning
from npusim.tuning.tune import tune as tuned

AUTO = "auto"
CERTAIN = 0.95  # of an estimate with assumed ranges
FEW = 256  # samples that are done before other processes have started


def evaluate(
    networks: Mapping[str, Graph],
    dataset: str | Path | Sequence[Item],
    *,
    task: str = CLASSIFICATION,
    labels: str | Path | Sequence[str] = (),
    label_offset: int = 0,
    decoder: str = "",
    anchors: str | Sequence[float] = (),
    priors: str | Path | Sequence[Sequence[float]] = (),
    images: str | Path | None = None,
    jobs: int | None = None,
    scheduler: str = "",
    state: str | Path | None = None,
    search: str | Path | None = None,
    optimization_level: int = 3,
    progress: Callable[[int, int], None] | Literal[True] | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Evaluation:
    """Run networks over a labelled set and measure a task.

    The result depends neither on ``jobs``, nor on the cluster, nor on interruptions in between.

    Parameters
    ----------
    networks : mapping
        Name of a run -> its graph. ``"float"`` is the float source and runs in the float engine;
        all others are quantized or float16. All see the preprocessing of the first.
    dataset : path, or sequence of Item
        A folder with one folder per class, or a list of "path label" lines. Detection: a COCO json
        file, a VOC or YOLO folder, or a list of "picture annotation" lines. Segmentation: a folder
        with images/ and masks/, or a list of "picture mask" lines.
    task : str
        "classification", "detection" (mAP at .5 and .5:.95), "segmentation" (mIoU) or
        "custom:module:function"; a function takes (list of float32 outputs, label) and returns
        numbers.
    labels : path, or sequence of str
        Class names, in order, when labels are names.
    label_offset : int
        Added to labels: 1 when the network's class 0 is background.
    decoder : str
        Of a detection: what the outputs mean. yolov3, yolov5, yolov8 (decoded output or heads), ssd
        (TensorFlow), ssd-xy (Caffe, PyTorch).
    anchors : str or sequence of float
        Width and height of each anchor in input pixels, those of the finest grid first; default:
        COCO's.
    priors : path or sequence
        Of an SSD: a npy or text file of (n, 4) or (4, n) numbers, centre and size.
    images : path, optional
        Folder of a COCO file's pictures.
    jobs : int, optional
        Processes of this computer; default: one per processor, one for few samples.
    scheduler : str
        Address of a Dask scheduler to run on instead.
    state : path, optional
        File that keeps what is done: the same call goes on with it. ``"auto"``: one in the
        working directory, named after networks, task and set, and removed when all is done.
    search : path, optional
        Folder in which a custom module is looked for; default: the working directory.
    optimization_level : int
        0..3, for graphs without engines.
    progress : callable or True, optional
        Called with (samples done, samples).
    say : callable
        Called with a sentence when an earlier call is gone on with.

    Returns
    -------
    Evaluation
        Top-1, top-5 and agreement with float as shares, or mAP or mIoU; every sample's record.

    Raises
    ------
    ConfigError
        When the task or the cluster cannot be used, or the state belongs to something else.
    DatasetError
        When labels are no classes, or no sample could be run.
    """
    assert progress is not True  # a bar by now (npusim.api.arguments.checked)
    first = next(iter(networks.values()), None)
    if first is None:
        raise ConfigError("there is no network", where="networks", rule="at least one, by name")
    refuse_boxes_elsewhere(task, decoder=decoder, anchors=anchors, priors=priors, images=images)
    names = named_labels(labels)
    if not isinstance(dataset, str | Path):
        items = dataset
    elif task == DETECTION:
        items = open_boxes(dataset, labels=names, images=images)
    elif task == SEGMENTATION:
        items = open_masks(dataset)
    else:
        items = open_labelled(Path(dataset), inputs=len(first.inputs))
    graphs = {
        name: graph if name == FLOAT else lower(graph, level=optimization_level)
        for name, graph in networks.items()
    }
    job = Job(
        graphs=graphs,
        task=task,
        labels=names,
        offset=label_offset,
        search=str(search or Path.cwd()),
        detector=detector_of(decoder, anchors=anchors, priors=priors, offset=label_offset)
        if task == DETECTION
        else None,
    )
    kept = f"npusim-evaluate-{fingerprint(job, items)[:12]}.jsonl" if state == AUTO else state
    if kept is not None and Path(kept).exists():
        say(f"going on with {kept}")
    found = evaluated(
        job,
        items,
        jobs=jobs if jobs is not None else (1 if len(items) < FEW else thread_count()),
        scheduler=scheduler,
        state=kept,
        progress=progress,
    )
    if state == AUTO and not found.interrupted:
        Path(str(kept)).unlink(missing_ok=True)
    return found


def tune(
    graph: Graph,
    dataset: str | Path | Samples | None,
    *,
    metric: str = "sqnr",
    budget_us: float | None = None,
    goal: float | None = None,
    to: Scheme | str | Sequence[Scheme | str] = "i16",
    scheme: Scheme | str = Scheme.U8,
    algorithm: Algorithm | str = "normal",
    equalize: Relu6 | str | None = None,
    bias_correction: bool = False,
    toolkit: Era | str = "1.7",
    no_join: Sequence[str] | str = (),
    evaluate: str | Path | Samples | None = None,
    samples: int = 16,
    most: int | None = None,
    state: str | Path | None = None,
    restart: bool = False,
    engine: str = "auto",
    optimization_level: int = 3,
    progress: Calibrating | Literal[True] | None = None,
    report: Callable[[Progress], None] = lambda progress: None,
    say: Callable[[str], None] = lambda text: None,
) -> Tuning:
    """Search which layers to raise to a wider format, accuracy against time.

    Parameters
    ----------
    graph : Graph
        Float graph from ``load_model``.
    dataset : path or iterable of (label, feeds)
        Calibration samples, as for ``quantize``.
    metric : str
        sqnr, cosine, lowest-cosine, top1 or custom:module:function: agreement of the outputs with
        the float model's; larger is better.
    budget_us : float, optional
        Largest estimated time of the network, microseconds.
    goal : float, optional
        Stop when the metric reaches it.
    to : Scheme, str or sequence of them
        Formats that layers are raised to, one search after the other.
    scheme, algorithm, equalize, bias_correction, toolkit, no_join, engine, optimization_level
        As for ``quantize``.
    evaluate : path or iterable of (label, feeds), optional
        Samples for the metric; default: those of the calibration.
    samples : int
        Most samples used for the metric.
    most : int, optional
        Stop after so many new measurements.
    state : path, optional
        File that keeps what was measured: the same call goes on with it.
    restart : bool
        Forget an earlier search.
    progress : callable or True, optional
        Told of the calibration, as in ``quantize``.
    report : callable
        Called with a ``Progress`` after every measured point.
    say : callable
        Called with a sentence on what an earlier search left, and on each search that begins.

    Returns
    -------
    Tuning
        The front of metric and microseconds, and the best choice; ``write(stem)`` stores it.

    Raises
    ------
    ConfigError
        When a word is unknown, the formats are no wider, or the state belongs to another search.
    DatasetError
        When the samples cannot be used.
    """
    assert progress is not True  # a bar by now (npusim.api.arguments.checked)
    plan = plan_of(
        dataset=dataset,
        scheme=scheme,
        algorithm=algorithm,
        optimization_level=optimization_level,
        equalize=equalize,
        bias_correction=bias_correction,
        toolkit=toolkit,
        no_join=no_join,
        engine=engine,
    )
    if budget_us is not None:
        _refuse_budget(graph, scheme, budget_us, optimization_level)
    return tuned(
        Quantization(graph, plan),
        metric=metric,
        to=[scheme_of(one) for one in ([to] if isinstance(to, Scheme | str) else to)],
        budget_us=budget_us,
        goal=goal,
        samples=samples,
        evaluate=evaluate,
        most=most,
        state=None if state is None else Path(state),
        restart=restart,
        calibrating=progress,
        report=report,
        say=say,
    )


def _refuse_budget(graph: Graph, scheme: Scheme | str, budget_us: float, level: int) -> None:
    """Refuse a budget below the time without any raise, before anything is calibrated.

    Assumed ranges price a network within a few percent of calibrated ones; what is closer is
    found out by the search itself.
    """
    least_us = estimate(graph, scheme=scheme, optimization_level=level).total_time_us
    if budget_us < CERTAIN * least_us:
        raise ConfigError(
            f"{budget_us:.0f} us; without any raise the network takes about {least_us:.0f} us",
            where=words.say("budget_us"),
            rule="raising layers only makes a network slower",
            remedy=f"give {least_us:.0f} us and more, or shorten the network first (npusim perf)",
        )

"""Replay recorded models of other frameworks: import, run in float or as the chip does, compare."""

import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from npusim.conformance.boxes import behind, options_of
from npusim.conformance.deviations import ACCEPTED, DIFFERS, REFUSED, reason_for
from npusim.conformance.forms import FLOAT, FORMS, Form, form_named
from npusim.conformance.importer_cases import Array, ImporterCase, read_cases
from npusim.errors import ModelImportError, NpusimError
from npusim.importers.formats import format_named, load_as
from npusim.importers.tensorflow.importer import load_tensorflow
from npusim.ir.graph import Graph

TO_NCHW = (0, 3, 1, 2)
_DETECTORS = {"DetectionOutput", "_contrib_MultiBoxDetection"}
_NAMED = re.compile(r"\b(layer|node|archive) |\bline \d")


@dataclass(frozen=True, slots=True)
class Framework:
    """How the cases of a framework are loaded.

    Attributes
    ----------
    format : str
        Its row in the table of file formats.
    suffixes : tuple of str
        Of the network and of the weights, if those are a file of their own.
    nhwc : bool
        Whether four-axis inputs are recorded as N, H, W, C.
    shapes : bool
        Whether the files hold no sizes, which then come from the recorded inputs.
    """

    format: str
    suffixes: tuple[str, ...]
    nhwc: bool = False
    shapes: bool = False


FRAMEWORKS: Mapping[str, Framework] = {
    "caffe": Framework("Caffe", (".prototxt", ".caffemodel")),
    "darknet": Framework("Darknet", (".cfg", ".weights")),
    "keras": Framework("Keras", (".keras", ".h5"), nhwc=True),
    "mxnet": Framework("MXNet", (".json", ".params"), shapes=True),
    "tensorflow": Framework("TensorFlow", (".pb",), nhwc=True),
    "tflite": Framework("TensorFlow Lite", (".tflite",), nhwc=True),
}


@dataclass(slots=True, kw_only=True)
class ImporterResult:
    """The cases of one framework in one file.

    Attributes
    ----------
    form : str
        Number format that the models ran in (``npusim.conformance.forms``).
    agreed, refused : int
        Models with the recorded outputs, and models that are refused as the program does it.
    deviations : list of (str, str)
        Label and reason of cases that differ on purpose.
    failures : list of str
        Cases that differ without a reason, a line each.
    """

    file: str
    framework: str
    form: str = FLOAT
    cases: int = 0
    agreed: int = 0
    refused: int = 0
    deviations: list[tuple[str, str]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    note: str = ""

    @property
    def ok(self) -> bool:
        """Tell whether every difference has a reason."""
        return not self.failures

    def add(self, case: ImporterCase) -> None:
        """Replay a case and count it."""
        self.cases += 1
        outcome, what = replay_case(case, FORMS[self.form])
        if not outcome and case.error:
            self.refused += 1
        elif not outcome:
            self.agreed += 1
        elif reason := reason_for(case, outcome, self.form):
            self.deviations.append((case.label, f"{outcome}: {reason}"))
        else:
            self.failures.append(f"{case.label}: {outcome}: {what}")


def replay_importers(path: Path, form: str = FLOAT) -> Iterator[ImporterResult]:
    """Yield the results of a file in a number format, one per framework that has an importer.

    Raises
    ------
    InputError
        When the file cannot be read.
    ConfigError
        When there is no such format.
    """
    form_named(form)
    results: dict[str, ImporterResult] = {}
    for case in read_cases(path):
        name = case.framework
        if name not in results:
            results[name] = ImporterResult(file=path.name, framework=name, form=form)
        if name not in FRAMEWORKS or not format_named(FRAMEWORKS[name].format).loader:
            results[name].cases += 1
            results[name].note = "no importer"
            continue
        results[name].add(case)
    yield from results.values()


def replay_case(case: ImporterCase, form: Form = FORMS[FLOAT]) -> tuple[str, str]:
    """Return how a case differs from its record, in a word and a line; ('', '') when it agrees.

    A model that the program refuses must be refused with the name of a layer or of a file's part.
    """
    with tempfile.TemporaryDirectory(prefix="npusim-case-") as folder:
        case.write(Path(folder))
        try:
            graph = _loaded(case, Path(folder), codes=form.name != FLOAT)
        except ModelImportError as error:
            text = " ".join(str(error).split())
            if not case.error:
                return REFUSED, text
            return ("", "") if _NAMED.search(text) else (REFUSED, f"without a place: {text}")
        except NpusimError as error:
            return REFUSED, f"{type(error).__name__}: {error}"
    if case.error:
        return ACCEPTED, f"the program says: {case.error}"
    what = _difference(case, graph, form)
    return (DIFFERS, what) if what else ("", "")


def _loaded(case: ImporterCase, folder: Path, *, codes: bool = False) -> Graph:
    framework = FRAMEWORKS[case.framework]
    paths = [
        folder / Path(name).name
        for suffix in framework.suffixes
        for name in case.files
        if name.endswith(suffix)
    ]
    second = format_named(framework.format).weights
    if not second:
        graph = load_as(framework.format, paths[0], input_shapes=_open_sizes(case, paths[0]))
        written_out = graph.is_quantized and not codes
        return load_tensorflow(paths[0], codes=False) if written_out else graph
    shapes = {name: value.shape for name, value in case.inputs.items()}
    return load_as(
        framework.format,
        paths[0],
        weights=paths[1] if len(paths) > 1 else False,
        input_shapes=shapes if framework.shapes and shapes else None,
    )


def _open_sizes(case: ImporterCase, path: Path) -> dict[str, tuple[int, ...]] | None:
    """Return the recorded shapes of the inputs where the file leaves sizes open."""
    if case.framework != "tensorflow" or case.error:
        return None
    return {name: value.shape for name, value in case.inputs.items()}


def _feeds(case: ImporterCase, graph: Graph) -> dict[str, Array]:
    feeds = {}
    inputs = list(case.inputs)
    for index, name in enumerate(graph.inputs):
        spec = graph.spec(name)
        if name in case.inputs or len(graph.inputs) == len(inputs) == 1:
            value = case.inputs[name if name in case.inputs else inputs[index]]
            if FRAMEWORKS[case.framework].nhwc and value.ndim == 4:
                value = value.transpose(TO_NCHW)
        else:
            value = np.zeros(spec.shape)
        feeds[name] = np.asarray(value, spec.dtype.numpy, order="C")
    return feeds


def _difference(case: ImporterCase, graph: Graph, form: Form) -> str:
    try:
        results = form.results(graph, _feeds(case, graph))
    except NpusimError as error:
        return f"{type(error).__name__}: {error}"
    for name, wanted in case.outputs.items():
        found = results.get(name)
        if case.framework == "darknet" and re.search("_(yolo|region)$", name):
            found = _boxes(case, name, results)
        if found is None:
            return f"output {name!r} is missing, there are {list(results)}"
        if found.shape != wanted.shape:
            return f"output {name!r} is {found.shape}, recorded {wanted.shape}"
        if _DETECTORS & set(case.layers):
            found, wanted = (_sorted_ties(rows, form.ties) for rows in (found, wanted))
        if gap := form.gap(found, wanted):
            return f"output {name!r} differs {gap}"
    return ""


def _sorted_ties(rows: Array, apart: float) -> Array:
    """Return detections with those of one sample and score in the order of their boxes.

    Rows are (sample, class, score, box) as of Caffe, or (class, score, box) as of MXNet. Scores
    that differ by less than ``apart`` may come in either order.
    """
    score = rows.shape[-1] - 5
    flat = rows.reshape(-1, rows.shape[-1])
    ties = np.cumsum(np.r_[0, np.abs(np.diff(flat[:, score])) > apart])
    groups = [flat[:, column] for column in range(score - 1 if score == 1 else score)]
    order = np.lexsort((flat[:, score + 2], flat[:, score + 1], ties, *groups[::-1]))
    return flat[order].reshape(rows.shape)


def _boxes(case: ImporterCase, name: str, results: Mapping[str, Array]) -> Array | None:
    """Return what a box layer makes of the network's output in front of it."""
    index = int(name.partition("_")[0])
    front = results.get(f"{name}/front")
    if front is None:
        front = next((v for k, v in results.items() if k.startswith(f"{index - 1}_")), None)
    if front is None:
        return None
    kind, options = options_of(case.files["net.cfg"].decode(), index)
    return behind(front, kind, options, "fork" in case.program)

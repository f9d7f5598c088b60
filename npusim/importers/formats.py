"""The table of model file formats: what files are called, how they begin, what reads them.

A framework is one row of ``FORMATS`` and a folder beside this file. ``npusim.load_model``, the
loaders of the RKNN class, the command line and the table in docs/importing.md ask here.

Content beats the suffix: a file that begins like another format than its name says is refused by
what it is, and a file whose suffix says nothing is read as what it begins like.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from os.path import isfile
from pathlib import Path
from typing import Any

from npusim import words
from npusim.errors import ContainerError, ModelImportError
from npusim.importers.common.builder import refuse_absent
from npusim.ir import archive, vendor_file
from npusim.ir.graph import Graph
from npusim.ir.quant import Float
from npusim.reading.files import open_file

Shapes = Mapping[str, Sequence[Any]] | Sequence[Sequence[Any]]
HEAD_BYTES = 32
OWN = "npusim"


@dataclass(frozen=True, slots=True)
class Magic:
    """How a file begins, and what it is then called in errors."""

    what: str
    begin: bytes
    offset: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """One row: the model files of one framework.

    Attributes
    ----------
    name : str
        The framework, as documents and errors call it.
    noun : str
        One file of it, with its article.
    suffixes : tuple of str
        Lower case, with the dot.
    magic : tuple of Magic
        How its files begin, as far as that tells them from others.
    second : str
        What a model has besides this file; empty for nothing.
    weights : str
        Suffix of the file with the weights, which the loader takes as ``weights``; empty for models
        of one file.
    extra : str
        The optional dependency that its importer needs.
    loader : str
        ``module:function``, called with (path, inputs, input_shapes, outputs); empty while there is
        no importer.
    inputs : str
        ``module:function`` from a path to lines on the inputs that the file itself names; empty
        where only an import finds them.
    call : str
        The loader of the RKNN class.
    advice : str
        What to do with such a file where it cannot be read; ``{load}`` stands for loading ONNX.
    runs_code : bool
        Reading a file runs code that is in it: the loader takes ``trust``.
    """

    name: str
    noun: str
    suffixes: tuple[str, ...] = ()
    magic: tuple[Magic, ...] = ()
    second: str = ""
    weights: str = ""
    extra: str = ""
    loader: str = ""
    inputs: str = ""
    call: str = ""
    advice: str = ""
    runs_code: bool = False

    def remedy(self) -> str:
        """Return ``advice`` in the words of the front end."""
        return self.advice.replace("{load}", words.say("load_onnx"))


_PROTOBUF_TEXT = "a protobuf text (Caffe?)"
_ZIP = Magic("a zip archive (PyTorch, Keras 3 or npz)", b"PK\x03\x04")

FORMATS = (
    Format(
        name="ONNX",
        noun="an ONNX file",
        suffixes=(".onnx",),
        magic=(Magic("a protobuf message (an ONNX model?)", b"\x08"),),
        second="external data, in files that the model names",
        loader="npusim.importers.onnx.importer:load_onnx",
        inputs="npusim.importers.onnx.file:inputs_of",
        call="load_onnx",
    ),
    Format(
        name="TensorFlow Lite",
        noun="a TensorFlow Lite model",
        suffixes=(".tflite",),
        magic=(Magic("a TensorFlow Lite model", b"TFL3", 4),),
        extra="tflite",
        loader="npusim.importers.tflite.importer:load_tflite",
        call="load_tflite",
    ),
    Format(
        name="PyTorch",
        noun="a TorchScript file or an exported program",
        suffixes=(".pt", ".pth", ".torchscript", ".pt2"),
        magic=(
            _ZIP,
            *(Magic("a Python pickle (PyTorch weights)", bytes((0x80, n))) for n in range(2, 6)),
        ),
        extra="torch",
        loader="npusim.importers.pytorch.importer:load_pytorch",
        call="load_pytorch",
        runs_code=True,
        advice="export it with torch.onnx.export and {load}",
    ),
    Format(
        name=OWN,
        noun="a model file of npusim",
        suffixes=archive.SUFFIXES,
        magic=(
            Magic("an npusim model file", archive.MAGIC),
            Magic("an .rknn model", vendor_file.PLAIN),
            Magic("an encrypted .rknn model", vendor_file.ENCRYPTED),
        ),
        loader="npusim.importers.stored:load_stored",
        call="load_rknn",
    ),
    Format(
        name="Caffe",
        noun="a Caffe model",
        suffixes=(".caffemodel", ".prototxt"),
        magic=tuple(Magic(_PROTOBUF_TEXT, word) for word in (b"name:", b"layer {", b"input:")),
        second=".prototxt with the layers, .caffemodel with the weights",
        weights=".caffemodel",
        loader="npusim.importers.caffe.importer:load_caffe",
        call="load_caffe",
    ),
    Format(
        name="Darknet",
        noun="a Darknet model",
        suffixes=(".cfg", ".weights"),
        magic=(Magic("a Darknet cfg", b"[net]"),),
        second=".cfg with the layers, .weights with the weights",
        weights=".weights",
        loader="npusim.importers.darknet.importer:load_darknet",
        call="load_darknet",
    ),
    Format(
        name="Keras",
        noun="a Keras model",
        suffixes=(".h5", ".keras"),
        magic=(Magic("an HDF5 file (Keras)", b"\x89HDF"), _ZIP),
        extra="keras",
        loader="npusim.importers.keras.importer:load_keras",
        call="load_keras",
        advice="name it .keras or .h5",
    ),
    Format(
        name="MXNet",
        noun="an MXNet model",
        suffixes=(".json", ".params"),
        magic=(
            Magic("a JSON text (an MXNet symbol?)", b"{"),
            Magic("an MXNet parameter file", b"\x12\x01\0\0\0\0\0\0"),
        ),
        second=".json with the layers, .params with the weights",
        weights=".params",
        loader="npusim.importers.mxnet.importer:load_mxnet",
        call="load_mxnet",
        advice="a layer list of npusim goes to npusim perf or npusim.estimate",
    ),
    Format(
        name="TensorFlow",
        noun="a TensorFlow graph",
        suffixes=(".pb",),
        magic=(Magic("a TensorFlow SavedModel", b"\x08\x01\x12"),),
        loader="npusim.importers.tensorflow.importer:load_tensorflow",
        call="load_tensorflow",
        advice="freeze it and load the .pb",
    ),
)

# What lies under a model's name and is none.
NO_MODELS = tuple(
    Format(name="", noun=what, magic=(Magic(what, begin),), advice=advice)
    for what, begin, advice in (
        ("a gzip archive", b"\x1f\x8b", "unpack it first"),
        ("an XML or HTML text (a failed download?)", b"<", "download the model again"),
        ("a git-lfs pointer, not the model", b"version https://git-lfs", "run git lfs pull"),
        ("a numpy array", b"\x93NUMPY", "give the model; arrays are its inputs"),
    )
)


def importable() -> tuple[str, ...]:
    """Return the frameworks whose models can be imported; npusim's own files are no framework."""
    return tuple(form.name for form in FORMATS if form.loader and form.name != OWN)


def format_named(name: str) -> Format:
    """Return a row by its framework's name."""
    return next(form for form in FORMATS if form.name == name)


def is_stored(path: str | Path) -> bool:
    """Tell whether a file is, or is called like, a stored model: npusim's or the vendor's."""
    path, own = Path(path), format_named(OWN)
    return _by_suffix(path) is own or own in _begun(head_of(path))


def load(
    path: str | Path,
    *,
    weights: str | Path | bool | None = None,
    inputs: Sequence[str] | None = None,
    input_shapes: Shapes | None = None,
    outputs: Sequence[str] | None = None,
    trust: bool = False,
) -> Graph:
    """Read a model file of any format of the table.

    Parameters
    ----------
    path : str or Path
    weights, inputs, input_shapes, outputs, trust
        As in ``npusim.load_model``.

    Raises
    ------
    ModelImportError
        When there is no file, or it is of no format that can be imported, naming what it is and
        what to do; else from the importer.
    ContainerError
        When a stored model cannot be read.
    """
    path = Path(path)
    form = _folder_of(path)
    if form is None:
        refuse_absent(path)
        form = _by_suffix(path)
    if form is None:
        begun = _begun(head_of(path))
        form = next(iter(begun), None)
        if form is None or not form.name:
            raise _unknown(path, begun)
    return load_as(
        form.name,
        path,
        weights=weights,
        inputs=inputs,
        input_shapes=input_shapes,
        outputs=outputs,
        **({"trust": trust} if form.runs_code else {}),
    )


def load_as(
    name: str,
    path: str | Path,
    *,
    weights: str | Path | bool | None = None,
    inputs: Sequence[str] | None = None,
    input_shapes: Shapes | None = None,
    outputs: Sequence[str] | None = None,
    **own: Any,
) -> Graph:
    """Read a model file as one of a framework, whatever its suffix; errors as in ``load``.

    ``own`` are options that only this framework's importer has.
    """
    form = format_named(name)
    if not form.loader:
        raise refusal(name, path)
    refuse_other(name, head_of(path), path)
    module, _, function = form.loader.partition(":")
    read = getattr(import_module(module), function)
    cuts = {"inputs": inputs, "input_shapes": input_shapes, "outputs": outputs, **own}
    graph: Graph
    if form.weights:
        graph = read(path, weights, **cuts)
    elif weights is not None:
        raise ModelImportError(
            f"weights {str(weights)!r} is given",
            where=str(path),
            rule=f"{form.noun} holds its weights itself",
            remedy="leave weights out",
        )
    else:
        graph = read(path, **cuts)
    return graph if form.name == OWN else graph.copy(coded=_coded(graph))


def _coded(graph: Graph) -> tuple[str, ...]:
    """Return the inputs and outputs that a source model declares as codes."""
    ends = dict.fromkeys((*graph.inputs, *graph.outputs))
    return tuple(name for name in ends if not isinstance(graph.spec(name).quant, Float))


def inputs_of(path: str | Path) -> list[str]:
    """Return lines on the inputs that a file names, also of one that cannot be imported.

    Empty for formats that only an import describes.

    Raises
    ------
    ModelImportError
        When the file itself cannot be read.
    """
    form = _by_suffix(Path(path))
    if form is None or not form.inputs:
        return []
    module, _, function = form.inputs.partition(":")
    lines: list[str] = getattr(import_module(module), function)(Path(path))
    return lines


def refusal(name: str, path: str | Path) -> ModelImportError:
    """Return the error for a framework without an importer."""
    form = format_named(name)
    return ModelImportError(
        f"{form.name} models are not imported",
        where=str(path),
        rule=_rule(),
        remedy=f"export the model to ONNX: {form.remedy()}",
    )


def refuse_other(name: str, head: bytes, where: str | Path) -> None:
    """Refuse a file that begins like one of another format.

    Parameters
    ----------
    name : str
        The framework whose file it should be.
    head : bytes
        At least ``HEAD_BYTES`` of its begin, or all of it.
    where : path
        The file, for the error.

    Raises
    ------
    ModelImportError, or ContainerError where a stored model is wanted
        Naming what the file is.
    """
    form, begun = format_named(name), _begun(head)
    if not begun or form in begun:
        return
    (other, magic), *_ = begun.items()
    error = ContainerError if form.name == OWN else ModelImportError
    raise error(
        f"this is {magic.what}, not {form.noun}",
        where=str(where),
        remedy=other.remedy()
        or words.say("other_format", call=other.call, suffix=other.suffixes[0]),
    )


def _unknown(path: Path, begun: Mapping[Format, Magic]) -> ModelImportError:
    for form, magic in begun.items():
        return ModelImportError(
            f"this is {magic.what}", where=str(path), rule=_rule(), remedy=form.remedy()
        )
    return ModelImportError(
        f"files ending in {path.suffix.lower() or 'nothing'} cannot be imported",
        where=str(path),
        rule=_rule(),
        remedy=f"export the model to ONNX from its framework and {words.say('load_onnx')}",
    )


def _rule() -> str:
    rows = [form for form in FORMATS if form.loader]
    return "npusim imports " + ", ".join(f"{f.name} ({', '.join(f.suffixes)})" for f in rows)


def _folder_of(path: Path) -> Format | None:
    """Return the row whose models are folders like this one; its importer says what to do."""
    # isfile: nothing is asked of a path that nobody may look at, its importer says why
    if any(isfile(path / f"saved_model{suffix}") for suffix in (".pb", ".pbtxt")):
        return format_named("TensorFlow")
    return None


def _by_suffix(path: Path) -> Format | None:
    suffix = path.suffix.lower()
    return next((form for form in FORMATS if suffix in form.suffixes), None)


def _begun(head: bytes) -> dict[Format, Magic]:
    """Return the rows whose files begin so; only those with the longest begin that fits."""
    found = [
        (form, magic)
        for form in (*FORMATS, *NO_MODELS)
        for magic in form.magic
        if head[magic.offset :].startswith(magic.begin)
    ]
    longest = max((len(magic.begin) for _, magic in found), default=0)
    return {form: magic for form, magic in found if len(magic.begin) == longest}


def head_of(path: str | Path) -> bytes:
    """Return the begin of a file; nothing where it cannot be read: its importer says why."""
    try:
        with open_file(path) as file:
            return file.read(HEAD_BYTES)
    except (OSError, ValueError):
        return b""

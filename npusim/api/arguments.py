"""Arguments of the public functions, by parameter name: what each must be, and how to get one.

``npusim`` hands out its functions through ``checked``, so that a mistake is an error with a remedy
instead of what Python says deep inside.
"""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from enum import Enum
from functools import wraps
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple, ParamSpec, TypeVar

import numpy as np

from npusim import words
from npusim.api.bars import bar
from npusim.api.overwriting import refuse_overwriting, refuse_unwritable
from npusim.errors import ConfigError, DatasetError, InputError, ModelImportError, NpusimError
from npusim.reading.files import is_path

P = ParamSpec("P")
R = TypeVar("R")

LOAD = "npusim.load_model(path) returns one"
COMPILE = "npusim.compile(npusim.quantize(graph, dataset)) returns one"
RECORD = "npusim.record_program, record_float, record_source and read_dump return one"
SAMPLES = "the path of a list of files, or [('name', {'input': float32 array}), ..]"


MOST_CLASSES = 1 << 30


class Use(Enum):
    """What a function does with a file."""

    NONE = "nothing: the argument names none"
    READ = "reads it, or has read it"
    WRITTEN = "writes it"


class Kind(NamedTuple):
    """What an argument must be.

    Attributes
    ----------
    rule, remedy : str
        In words.
    fits : callable
        Tells whether a value is one.
    error : type
        What is raised otherwise.
    use : Use
        What is done with the file that it names or came from.
    """

    rule: str
    remedy: str
    fits: Callable[[Any], bool]
    error: type[NpusimError] = ConfigError
    use: Use = Use.NONE


def _named(*names: str) -> Callable[[Any], bool]:
    """Return a test for classes by their names: nothing is imported for it."""
    return lambda value: any(cls.__name__ in names for cls in type(value).__mro__)


def _is_list(value: Any, fits: Callable[[Any], bool]) -> bool:
    """Tell whether it is a sequence of such values; text and bytes are no sequences here."""
    is_text = isinstance(value, str | bytes | bytearray | memoryview)
    return isinstance(value, Sequence) and not is_text and all(map(fits, value))


def _is_words(value: Any) -> bool:
    return isinstance(value, str) or _is_list(value, lambda item: isinstance(item, str))


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        return False
    try:
        float(value)
    except OverflowError:  # a whole number of hundreds of digits
        return False
    return True


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool | np.bool_) or (_is_whole(value, 0) and int(value) <= 1)


def _is_limit(value: Any) -> bool:
    return _is_number(value) and value == value  # NaN compares with nothing: it would be no limit


def _is_whole(value: Any, low: int) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and int(value) >= low


def _is_offset(value: Any) -> bool:
    return _is_whole(value, -MOST_CLASSES) and int(value) <= MOST_CLASSES


def _is_feeds(value: Any) -> bool:
    return isinstance(value, Mapping) and all(
        isinstance(name, str) and not (item is None or isinstance(item, str | PathLike))
        for name, item in value.items()
    )


def _is_shapes(value: Any) -> bool:
    shapes = list(value.values()) if isinstance(value, Mapping) else value
    return _is_list(shapes, lambda shape: _is_list(shape, lambda size: True))


_GRAPH = Kind("a Graph", LOAD, _named("Graph"), use=Use.READ)
_PROGRAM = Kind("a Program", COMPILE, _named("Program"))
_RECORDING = Kind("a Recording", RECORD, _named("Recording"))
_PATH = Kind("the path of a file", "give a str or a pathlib.Path", is_path, use=Use.READ)
_OUTPUT = _PATH._replace(use=Use.WRITTEN)
_WORD = Kind("a word", "give a str", lambda value: isinstance(value, str))
_NAMES = Kind("names", "give a list of str", _is_words)
_CALLABLE = Kind("a function", "give something that can be called", callable)
_SCHEME = Kind(
    "a number format",
    "give 'u8', 'i8', 'i16' or 'f16', or a Scheme",
    lambda value: isinstance(value, str) or _named("Scheme")(value),
)
_FLAG = Kind("yes or no", "give True or False", _is_flag)
_LEVEL = Kind(
    "a whole number 0 .. 3", "3 does all rewrites", lambda v: _is_whole(v, 0) and int(v) <= 3
)
_LIMIT = Kind("a number, not NaN", "give an int or a float", _is_limit)
_COUNT = Kind("a whole number, 1 or more", "give an int", lambda value: _is_whole(value, 1))

_NUMBERS = Kind(
    "a number, or one for each channel",
    "for example 127.5, or (123.675, 116.28, 103.53)",
    lambda v: _is_number(v) or _is_list(v, _is_number),
)

KINDS = {
    "graph": _GRAPH,
    "first": _GRAPH,
    "second": _GRAPH,
    "program": _PROGRAM,
    "actual": _RECORDING,
    "reference": _RECORDING,
    "like": _RECORDING,
    "path": _PATH,
    "folder": _PATH._replace(rule="the path of a folder"),
    "cfg": _PATH,
    "write_cfg": _OUTPUT,
    "search": _PATH,
    "state": _OUTPUT,
    "output": _OUTPUT,
    "labelled": _PATH._replace(rule="the path of a labelled set"),
    "node_data": _OUTPUT,
    "quantized": _GRAPH._replace(
        rule="a quantized Graph", remedy="npusim.quantize(graph, dataset) returns one"
    ),
    "vs": _GRAPH,
    "weights": _PATH._replace(
        rule="one path, or False for the structure only",
        fits=lambda value: value is False or is_path(value),
        error=ModelImportError,
    ),
    "driver_faults": _WORD,
    "inputs": _NAMES,
    "outputs": _NAMES,
    "no_join": _NAMES,
    "input_shapes": Kind(
        "shapes by name, or one for each input in order",
        "for example {'x': (1, 3, 224, 224)}, or [(1, 3, 224, 224)]",
        _is_shapes,
    ),
    "feeds": Kind(
        "arrays by input name",
        "for example {'x': array}; npusim.read_input(graph, path) reads files",
        _is_feeds,
        InputError,
    ),
    "files": Kind(
        "one path, or a list with one for each input",
        "give paths of images or npy files; arrays go to Program.run as {'x': array}",
        lambda v: is_path(v) or (_is_list(v, is_path) and bool(v)),
        use=Use.READ,
    ),
    "model": Kind(
        "a Graph, a Program, a Network or the path of a model file",
        LOAD,
        lambda value: is_path(value) or _named("Graph", "Program", "Network")(value),
    ),
    "networks": Kind(
        "graphs by name",
        "for example {'float': graph, 'u8': npusim.quantize(graph, dataset)}",
        lambda value: isinstance(value, Mapping) and all(map(_named("Graph"), value.values())),
        use=Use.READ,
    ),
    "scheme": _SCHEME,
    "to": _SCHEME._replace(
        rule="a number format, or several",
        fits=lambda v: _SCHEME.fits(v) or (_is_list(v, _SCHEME.fits) and bool(v)),
    ),
    "layers": Kind(
        "number formats by layer",
        "for example {'Conv_3': 'i16'}",
        lambda value: isinstance(value, Mapping) and all(map(_SCHEME.fits, value.values())),
    ),
    "algorithm": Kind(
        "a calibration statistic",
        "give 'normal', 'moving_average', 'kl_divergence' or 'mmse', or an Algorithm",
        lambda value: isinstance(value, str) or _named("Algorithm")(value),
    ),
    "equalize": Kind(
        "what to do with relu6",
        "give 'keep', 'restrict' or 'replace'",
        lambda value: isinstance(value, str) or _named("Relu6")(value),
    ),
    "toolkit": Kind(
        "a release of RKNN-Toolkit",
        "give a str, for example '1.7.3'",
        lambda value: isinstance(value, str) or _named("Era")(value),
    ),
    "target": Kind(
        "a chip",
        "give its name, for example 'rk1808'; npusim.estimate also takes a .toml file",
        lambda value: isinstance(value, str) or is_path(value) or _named("Machine")(value),
    ),
    "engine": _WORD._replace(remedy="give 'auto', 'onnxruntime' or 'npusim'"),
    "metric": _WORD,
    "task": _WORD,
    "decoder": _WORD,
    "images": _PATH,
    "anchors": Kind(
        "widths and heights",
        "give numbers, or text of numbers between commas",
        lambda v: isinstance(v, str) or _is_list(v, _is_number),
    ),
    "priors": Kind(
        "rows of four numbers",
        "give a npy or text file, or a sequence of rows",
        lambda v: is_path(v) or isinstance(v, np.ndarray) or _is_list(v, lambda row: True),
        use=Use.READ,
    ),
    "profile": _WORD,
    "layout": _WORD,
    "optimization_level": _LEVEL,
    "level": _LEVEL,
    "threshold": _LIMIT,
    "budget_us": _LIMIT,
    "goal": _LIMIT,
    "batch": _COUNT,
    "jobs": _COUNT,
    "samples": _COUNT,
    "most": _COUNT,
    "progress": _CALLABLE._replace(
        rule="a function, or True for a bar", fits=lambda v: callable(v) or v is True
    ),
    "mean": _NUMBERS,
    "std": _NUMBERS,
    "reorder": _NUMBERS._replace(
        rule="the source channel of each channel", remedy="for example (2, 1, 0)"
    ),
    "report": _CALLABLE,
    "say": _CALLABLE,
    "clock_mhz": _LIMIT,
    "ddr_gbps": _LIMIT,
    "label": _WORD,
    "sample": _WORD,
    "scheduler": _WORD._replace(remedy="give the address that dask scheduler prints"),
    "labels": Kind(
        "names of classes",
        "give a list of str, or the path of a file with a name a line",
        lambda value: is_path(value) or (not isinstance(value, str) and _is_words(value)),
    ),
    "label_offset": Kind(
        "a whole number", "1 where class 0 of the network is background", _is_offset
    ),
}
KINDS["relu6"] = KINDS["equalize"]
KINDS |= dict.fromkeys(
    (
        "avoid_driver_faults",
        "bias_correction",
        "preprocessed",
        "restart",
        "splits_deconv",
        "sram",
        "trust",
    ),
    _FLAG,
)
WORDS_OF = {("record_source", "reference"): _WORD}
"""Parameters that are words in one function and something else in others."""
SAMPLED = {
    "quantize": ("dataset",),
    "equalize": ("dataset",),
    "tune": ("dataset", "evaluate"),
    "report": ("dataset",),
}
LABELLED = Kind(
    "a labelled set",
    "give a folder with one folder per class, a list of 'path label' lines, or Items",
    lambda v: is_path(v) or _is_list(v, _named("Item")),
    DatasetError,
    Use.READ,
)
STORING = ("save", "export_onnx")  # their path is one to write


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """Return a public function that refuses arguments of a wrong kind by name.

    A parameter whose default is None takes None, and ``progress`` takes True for a bar. Iterables
    of samples are checked as they are read.
    """
    signature = inspect.signature(function)
    sampled = SAMPLED.get(function.__name__, ())

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        bound = signature.bind(*args, **kwargs)  # Python's own words for names that do not exist
        used: dict[Use, list[tuple[str, Path]]] = {use: [] for use in Use}
        for name, value in bound.arguments.items():
            if value is None and signature.parameters[name].default is None:
                continue
            where = _place(name, function.__name__)
            if name in sampled:
                bound.arguments[name] = _samples(value, where)
            elif kind := _kind(name, function.__name__):
                _check(value, kind, where)
                bound.arguments[name] = value = _plain_paths(value)
            used[_use(name, value, function.__name__)] += _files(name, value, where)
        if words.front_end() is words.FrontEnd.PYTHON:  # the others have looked, in their words
            refuse_overwriting(used[Use.READ], used[Use.WRITTEN])
            refuse_unwritable(used[Use.WRITTEN])
        if bound.arguments.get("progress") is not True:
            return function(*bound.args, **bound.kwargs)
        with bar(function.__name__) as told:
            bound.arguments["progress"] = told
            return function(*bound.args, **bound.kwargs)

    return call


def _kind(name: str, function: str) -> Kind | None:
    if name == "dataset":
        return LABELLED
    return WORDS_OF.get((function, name)) or KINDS.get(name)


def _plain_paths(value: Any) -> Any:
    """Return the value with objects that stand for a path as a Path."""
    if isinstance(value, PathLike) and not isinstance(value, Path):
        return Path(value)
    if isinstance(value, list | tuple) and any(isinstance(item, PathLike) for item in value):
        return [_plain_paths(item) for item in value]
    return value


def _use(name: str, value: Any, function: str) -> Use:
    """Return what a function does with what an argument names."""
    if name == "path" and function in STORING:
        return Use.WRITTEN
    if name in SAMPLED.get(function, ("dataset",)) or (name == "labels" and is_path(value)):
        return Use.READ
    return KINDS[name].use if name in KINDS else Use.NONE


def _files(name: str, value: Any, where: str) -> Iterator[tuple[str, Path]]:
    """Yield the files that an argument names or that its graphs came from, with what they are."""
    if is_path(value):
        yield where, Path(value)
    elif _named("Graph")(value) and value.source.path:
        yield f"the source of {name}", Path(value.source.path)
    elif isinstance(value, Mapping | list | tuple):
        for item in value.values() if isinstance(value, Mapping) else value:
            if is_path(item) or _named("Graph")(item):
                yield from _files(name, item, where)


def checked_limit(value: float | None, where: str) -> float | None:
    """Return a number that something is compared with: NaN, which keeps nothing out, is none."""
    if value is not None and value != value:
        raise ConfigError("value nan", where=where, rule="a number")
    return value


def _place(name: str, function: str) -> str:
    """Return which parameter of which function it is, or which option stands for it."""
    if words.front_end() is words.FrontEnd.PYTHON:
        return f"{name} of npusim.{function}"
    known = words.WORDS.get(name)
    plain = known is not None and "{" not in known.cli  # a name without a value
    return words.say(name) if plain else f"--{name.replace('_', '-')}"


def _check(value: Any, kind: Kind, where: str) -> None:
    if not kind.fits(value):
        raise kind.error(_what(value), where=where, rule=kind.rule, remedy=kind.remedy)


def _what(value: Any) -> str:
    """Return a value in a few words."""
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape}"
    if isinstance(value, Mapping | list | tuple) and value:
        first = next(iter(value.items() if isinstance(value, Mapping) else value))
        return f"a {type(value).__name__} whose first entry is {_short(first)}"
    return f"{_short(value)} ({type(value).__name__})"


def _short(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape}"
    if isinstance(value, tuple):
        return f"({', '.join(map(_short, value))})"
    text = repr(value) if isinstance(value, str | int | float | bool | None) else ""
    return text if text and len(text) < 60 else f"a {type(value).__name__}"


def _samples(value: Any, where: str) -> Any:
    """Return samples that are checked now, or one by one as they are read."""
    if is_path(value) or _named("Dataset")(value):
        return _plain_paths(value)
    if isinstance(value, str | bytes | Mapping | np.ndarray) or not isinstance(value, Iterable):
        raise _no_samples(value, where)
    if isinstance(value, list | tuple):
        for sample in value:
            _check_sample(sample, where)
        return value
    return _each(value, where) if isinstance(value, Iterator) else _Samples(value, where)


def _each(samples: Iterable[Any], where: str) -> Iterator[Any]:
    for sample in samples:
        _check_sample(sample, where)
        yield sample


class _Samples(Sized):
    """Samples of somebody's own class, which can be read again."""

    def __init__(self, samples: Iterable[Any], where: str) -> None:
        self._samples, self._where = samples, where

    def __iter__(self) -> Iterator[Any]:
        return _each(self._samples, self._where)

    def __len__(self) -> int:
        return len(self._samples) if isinstance(self._samples, Sized) else 0


def _check_sample(sample: Any, where: str) -> None:
    pair = isinstance(sample, tuple | list) and len(sample) == 2
    if not pair or isinstance(sample[0], Mapping | np.ndarray) or not _is_feeds(sample[1]):
        raise _no_samples(sample, where, "a sample is ")


def _no_samples(value: Any, where: str, what: str = "") -> DatasetError:
    return DatasetError(
        f"{what}{_what(value)}",
        where=where,
        rule=SAMPLES,
        remedy="name each sample, and its arrays by the inputs of the model (graph.inputs), after "
        "mean and std; npusim.read_input(graph, files) reads one from files",
    )

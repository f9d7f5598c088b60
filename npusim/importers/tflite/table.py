"""TensorFlow Lite operator -> the function that converts it."""

from collections.abc import Callable

from npusim.errors import ModelImportError
from npusim.importers.tflite.context import TfliteContext
from npusim.importers.tflite.file import Operator
from npusim.ops import ops_named_in

Converter = Callable[[Operator, TfliteContext], None]
_CONVERTERS: dict[str, Converter] = {}


def converter(*types: str) -> Callable[[Converter], Converter]:
    """Register the decorated function for TensorFlow Lite operators; a duplicate raises."""

    def add(convert: Converter) -> Converter:
        for word in types:
            if word in _CONVERTERS:
                raise ModelImportError(f"{word} has two converters")
            _CONVERTERS[word] = convert
        return convert

    return add


def substitute(*types: str) -> Callable[[Converter], Converter]:
    """Register the decorated function for those that no operator of npusim stands for."""
    named = ops_named_in("tflite", lambda definition: True)
    return converter(*(word for word in types if word not in named))


def converter_of(word: str) -> Converter | None:
    """Return the converter of an operator."""
    return _CONVERTERS.get(word)


def convertible_ops() -> tuple[str, ...]:
    """Return the TensorFlow Lite operators that have a converter."""
    return tuple(sorted(_CONVERTERS))

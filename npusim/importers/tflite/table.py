"""TensorFlow Lite operator -> the function that converts it."""

from collections.abc import Callable

from npusim.importers.common.converters import ConverterTable
from npusim.importers.tflite.context import TfliteContext
from npusim.importers.tflite.file import Operator
from npusim.ops import ops_named_in

Converter = Callable[[Operator, TfliteContext], None]
converter: ConverterTable[Operator, TfliteContext] = ConverterTable()
converter_of, convertible_ops = converter.find, converter.types


def substitute(*types: str) -> Callable[[Converter], Converter]:
    """Register the decorated function for those that no operator of npusim stands for."""
    named = ops_named_in("tflite", lambda definition: True)
    return converter(*(word for word in types if word not in named))

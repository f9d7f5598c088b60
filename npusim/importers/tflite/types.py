"""Element types that a file gives the operands and the result of one operator."""

from collections.abc import Sequence

from npusim.errors import ModelImportError
from npusim.importers.tflite.file import Operator, Tensor

CONVERTING = ("CAST", "DEQUANTIZE", "QUANTIZE")
REAL = ("FLOAT16", "FLOAT32", "FLOAT64")


def check_types(op: Operator, operands: Sequence[Tensor], result: Tensor) -> None:
    """Refuse a result of other real numbers than its computed operands: both are float32 here.

    LiteRT takes the bytes of one for the other.
    """
    for given in operands:
        both = given.type in REAL and result.type in REAL
        if both and given.type != result.type and op.type not in CONVERTING:
            raise ModelImportError(
                f"its result is {result.type.lower()}, its input {given.type.lower()}",
                rule=f"{op.type} does not convert values",
            )

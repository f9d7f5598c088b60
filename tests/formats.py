"""The number formats of tests: element type and quantization."""

from npusim.ir.dtypes import DType
from npusim.ir.quant import Affine, DynamicFixedPoint, Float

F16, F32 = (DType.F16, Float()), (DType.F32, Float())
U8, OTHER_U8 = (DType.U8, Affine(scale=0.02, zero_point=117)), (DType.U8, Affine(scale=0.03))
I8, I16 = (DType.I8, DynamicFixedPoint(fl=5)), (DType.I16, DynamicFixedPoint(fl=11))
FORMATS = {"u8": U8, "i8": I8, "i16": I16, "f16": F16}

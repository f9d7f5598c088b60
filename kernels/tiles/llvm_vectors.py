"""Short names for the LLVM vector code that the register tiles are written in."""

from llvmlite import ir
from numba.core import cgutils

I8, I16, I32, I64 = (ir.IntType(bits) for bits in (8, 16, 32, 64))
F32, F64 = ir.FloatType(), ir.DoubleType()


class Vectors:
    """Vectors of a fixed number of lanes, built at the builder's position.

    Parameters
    ----------
    context, builder, signature, arguments
        As Numba hands them to the code generator of an intrinsic.
    """

    def __init__(self, context, builder, signature, arguments):
        self.context, self.builder = context, builder
        self.signature, self.arguments = signature, arguments

    def data(self, position):
        """Return the data pointer of an array argument."""
        array_type = self.signature.args[position]
        array = self.context.make_array(array_type)(
            self.context, self.builder, self.arguments[position]
        )
        return array.data

    def size(self, position):
        """Return the length of a one-dimensional array argument."""
        array_type = self.signature.args[position]
        array = self.context.make_array(array_type)(
            self.context, self.builder, self.arguments[position]
        )
        return self.builder.extract_value(array.shape, 0)

    def number(self, value, kind=I64):
        """Return a constant."""
        return ir.Constant(kind, value)

    def splat(self, scalar, lanes):
        """Return a vector whose lanes all hold a scalar."""
        vector = ir.VectorType(scalar.type, lanes)
        undefined = ir.Constant(vector, ir.Undefined)
        first = self.builder.insert_element(undefined, scalar, ir.Constant(I32, 0))
        zeros = ir.Constant(ir.VectorType(I32, lanes), [0] * lanes)
        return self.builder.shuffle_vector(first, undefined, zeros)

    def constant(self, value, kind, lanes):
        """Return a vector of one constant."""
        return ir.Constant(ir.VectorType(kind, lanes), [value] * lanes)

    def at(self, pointer, position):
        """Return the address of an element."""
        return self.builder.gep(pointer, [position])

    def load(self, pointer, kind, lanes):
        """Load unaligned lanes of an element type from an address."""
        place = self.builder.bitcast(pointer, ir.VectorType(kind, lanes).as_pointer())
        return self.builder.load(place, align=1)

    def store(self, value, pointer):
        """Store lanes at an unaligned address."""
        place = self.builder.bitcast(pointer, value.type.as_pointer())
        self.builder.store(value, place, align=1)

    def first_lanes(self, count, lanes):
        """Return the mask of the first ``count`` (any positive number) of up to 64 lanes."""
        builder = self.builder
        limit = self.number(lanes)
        count = builder.select(builder.icmp_signed("<", count, limit), count, limit)
        numbers = ir.Constant(ir.VectorType(I8, lanes), list(range(lanes)))
        return builder.icmp_signed("<", numbers, self.splat(builder.trunc(count, I8), lanes))

    def load_first(self, pointer, kind, lanes, count):
        """Load the first ``count`` lanes only; the others are 0."""
        vector, mask = ir.VectorType(kind, lanes), self.first_lanes(count, lanes)
        place = self.builder.bitcast(pointer, vector.as_pointer())
        function = self.function(
            f"llvm.masked.load.v{lanes}i{kind.width}.p0",
            vector,
            [place.type, I32, mask.type, vector],
        )
        zeros = ir.Constant(vector, [0] * lanes)
        return self.builder.call(function, [place, self.number(1, I32), mask, zeros])

    def store_first(self, value, pointer, count):
        """Store the first ``count`` lanes only."""
        lanes = value.type.count
        mask = self.first_lanes(count, lanes)
        place = self.builder.bitcast(pointer, value.type.as_pointer())
        function = self.function(
            f"llvm.masked.store.v{lanes}i{value.type.element.width}.p0",
            ir.VoidType(),
            [value.type, place.type, I32, mask.type],
        )
        self.builder.call(function, [value, place, self.number(1, I32), mask])

    def store_up_to(self, value, pointer, count):
        """Store all lanes, or the first ``count`` if those are fewer."""
        builder = self.builder
        whole = builder.icmp_signed(">=", count, self.number(value.type.count))
        with builder.if_else(whole, likely=True) as (all_lanes, some):
            with all_lanes:
                self.store(value, pointer)
            with some:
                self.store_first(value, pointer, count)

    def function(self, name, result, arguments):
        """Return a declared function of the module."""
        return cgutils.get_or_insert_function(
            self.builder.module, ir.FunctionType(result, arguments), name
        )

    def unary(self, name, value):
        """Call an LLVM intrinsic of one vector, for example ``llvm.roundeven``."""
        letter = "f32" if value.type.element == F32 else "f64"
        function = self.function(f"{name}.v{value.type.count}{letter}", value.type, [value.type])
        return self.builder.call(function, [value])

    def clamp(self, value, low, high):
        """Return ordered floats limited to [low, high] lane by lane."""
        builder = self.builder
        value = builder.select(builder.fcmp_ordered(">", value, low), value, low)
        return builder.select(builder.fcmp_ordered("<", value, high), value, high)

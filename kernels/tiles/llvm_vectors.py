"""How kernels are written in LLVM vectors: ``vector_code`` and short names for its instructions."""

import inspect

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

I8, I16, I32, I64 = (ir.IntType(bits) for bits in (8, 16, 32, 64))
F32, F64 = ir.FloatType(), ir.DoubleType()


def vector_code(generate):
    """Make an intrinsic of a function that writes its code; the intrinsic returns nothing.

    ``generate(v, ...)`` gets a ``Vectors`` and the arguments of the call under its own parameter
    names: arrays as ``ArrayArgument``, numbers as LLVM values, tuples as lists of those.
    """
    of_vectors, *parameters = inspect.signature(generate).parameters.values()

    def typed(typing_context, *arguments):
        return types.void(*arguments), emit

    def emit(context, builder, signature, arguments):
        v = Vectors(context, builder)
        generate(v, *(v.argument(*pair) for pair in zip(signature.args, arguments, strict=True)))
        return context.get_dummy_value()

    typed.__name__, typed.__doc__ = generate.__name__, generate.__doc__
    typed.__signature__ = inspect.Signature([of_vectors, *parameters])  # what Numba checks calls by
    return intrinsic(typed)


class ArrayArgument:
    """An array that was passed to an intrinsic."""

    def __init__(self, v, array_type, value):
        self._v, self._type, self._value = v, array_type, value
        self.kind = v.context.get_data_type(array_type.dtype)  # LLVM type of an element

    @property
    def data(self):
        """The address of the first element."""
        return self._array().data

    @property
    def size(self):
        """The length of a one-dimensional array."""
        return self._v.builder.extract_value(self._array().shape, 0)

    def _array(self):
        context = self._v.context
        return context.make_array(self._type)(context, self._v.builder, self._value)


class Vectors:
    """Vectors of a fixed number of lanes, built at the builder's position.

    Parameters
    ----------
    context, builder
        As Numba hands them to the code generator of an intrinsic.
    """

    def __init__(self, context, builder):
        self.context, self.builder = context, builder

    def argument(self, kind, value):
        """Return an argument of type ``kind`` as ``vector_code`` passes it on."""
        if isinstance(kind, types.Array):
            return ArrayArgument(self, kind, value)
        if isinstance(kind, types.BaseTuple):
            return cgutils.unpack_tuple(self.builder, value)
        return value

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

    def prefetch(self, pointer):
        """Have the cache line of an address brought into the second cache; any address will do."""
        kinds = [pointer.type, I32, I32, I32]
        function = self.function("llvm.prefetch.p0", ir.VoidType(), kinds)
        reading, second, data = (self.number(value, I32) for value in (0, 2, 1))
        self.builder.call(function, [pointer, reading, second, data])

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

    def map_blocks(self, function, sources, target, count, kind, lanes):
        """Store ``function(vectors of each source)`` for ``count`` elements, whole vectors first.

        Sources and target are addresses of elements of type ``kind``; of the last vector only what
        is left is read and written.
        """
        builder = self.builder
        blocks = builder.sdiv(count, self.number(lanes))
        with cgutils.for_range(builder, blocks) as loop:
            at = builder.mul(loop.index, self.number(lanes))
            vectors = [self.load(self.at(source, at), kind, lanes) for source in sources]
            self.store(function(*vectors), self.at(target, at))
        done = builder.mul(blocks, self.number(lanes))
        with builder.if_then(builder.icmp_signed("<", done, count)):
            left = builder.sub(count, done)
            vectors = [self.load_first(self.at(s, done), kind, lanes, left) for s in sources]
            self.store_first(function(*vectors), self.at(target, done), left)

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

"""Register tiles of multiply-adds, written as LLVM vectors so that speed and order are fixed.

A compiler may not reorder floating-point sums, and does not find register tiles by itself. Here
each of ROWS x columns sums is one chain over k, ascending; LLVM splits the vectors as the machine
needs. ``llvm.fmuladd`` may or may not fuse: every product that npusim forms with it is exact, so
the bits are the same.
"""

from llvmlite import binding, ir
from numba.core import cgutils, types
from numba.extending import intrinsic

PANEL = 64  # columns of a packed panel of weights
ROWS = 6


def _vector_bytes() -> int:
    features = binding.get_host_cpu_features()
    return 64 if features.get("avx512f") else 32 if features.get("avx") else 16


VECTOR_BYTES = _vector_bytes()
LANES_F32 = VECTOR_BYTES // 4
LANES_F64 = VECTOR_BYTES // 8
# ROWS x VECTORS sums, one row of weights and a factor fit 32 registers, or 16 when VECTORS is 2
VECTORS = 2 if VECTOR_BYTES == 32 else 4

_INT = ir.IntType(64)


def _splat(builder, scalar, vector):
    undefined = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(undefined, scalar, ir.Constant(ir.IntType(32), 0))
    lanes = ir.Constant(ir.VectorType(ir.IntType(32), vector.count), [0] * vector.count)
    return builder.shuffle_vector(first, undefined, lanes)


def _make_tile(vectors, own_channels):
    """Return an intrinsic for tiles of ROWS x ``vectors`` vectors.

    ``own_channels``: every column reads its own input channel (depthwise); else all columns share
    one.
    """

    def tile(typing_context, ifm, starts, offsets, first, last, weights, column, sums):
        def generate(context, builder, signature, arguments):
            def data(position):
                array_type = signature.args[position]
                return context.make_array(array_type)(context, builder, arguments[position]).data

            def number(value):
                return ir.Constant(_INT, value)

            scalar = context.get_data_type(signature.args[0].dtype)
            lanes = VECTOR_BYTES // (8 if isinstance(scalar, ir.DoubleType) else 4)
            vector = ir.VectorType(scalar, lanes)
            suffix = "f64" if isinstance(scalar, ir.DoubleType) else "f32"
            multiply_add = cgutils.get_or_insert_function(
                builder.module,
                ir.FunctionType(vector, [vector] * 3),
                f"llvm.fmuladd.v{lanes}{suffix}",
            )

            def load(base, position):
                place = builder.bitcast(builder.gep(base, [position]), vector.as_pointer())
                return builder.load(place, align=scalar_bytes)

            scalar_bytes = 8 if isinstance(scalar, ir.DoubleType) else 4
            ifm_data, starts_data, offsets_data = data(0), data(1), data(2)
            begin, end, column_at = arguments[3], arguments[4], arguments[6]
            panel = builder.gep(data(5), [column_at])
            sums_at = builder.gep(data(7), [column_at])
            rows, chains = [], []
            for row in range(ROWS):
                start = builder.load(builder.gep(starts_data, [number(row)]))
                if own_channels:
                    start = builder.add(start, column_at)
                rows.append(builder.gep(ifm_data, [start]))
                chains.append([])
                for j in range(vectors):
                    chain = cgutils.alloca_once(builder, vector)
                    at = number(row * PANEL + j * lanes)
                    builder.store(load(sums_at, at), chain)
                    chains[row].append(chain)
            with cgutils.for_range(builder, builder.sub(end, begin)) as loop:
                line = builder.gep(panel, [builder.mul(loop.index, number(PANEL))])
                columns = [load(line, number(j * lanes)) for j in range(vectors)]
                offset = builder.load(builder.gep(offsets_data, [builder.add(begin, loop.index)]))
                for row in range(ROWS):
                    place = builder.gep(rows[row], [offset])
                    shared = None if own_channels else _splat(builder, builder.load(place), vector)
                    for j in range(vectors):
                        factor = load(place, number(j * lanes)) if own_channels else shared
                        chain = chains[row][j]
                        total = builder.call(
                            multiply_add, [factor, columns[j], builder.load(chain)]
                        )
                        builder.store(total, chain)
            for row in range(ROWS):
                for j in range(vectors):
                    at = builder.gep(sums_at, [number(row * PANEL + j * lanes)])
                    place = builder.bitcast(at, vector.as_pointer())
                    builder.store(builder.load(chains[row][j]), place, align=scalar_bytes)
            return context.get_dummy_value()

        return types.void(ifm, starts, offsets, first, last, weights, column, sums), generate

    return intrinsic(tile)


# sums[r, column + j] += sum over first <= k < last of
#   ifm[starts[r] + offsets[k]] * weights[k - first, column + j]             (shared channels)
#   ifm[starts[r] + offsets[k] + column + j] * weights[k - first, column + j]   (own channels)
# with sums (ROWS, PANEL) and weights (.., PANEL), all arrays flat, starts and offsets int64.
wide_tile = _make_tile(VECTORS, own_channels=False)
narrow_tile = _make_tile(1, own_channels=False)
wide_tile_depthwise = _make_tile(VECTORS, own_channels=True)
narrow_tile_depthwise = _make_tile(1, own_channels=True)

"""Building blocks for tests against npusim: small graphs, single layers, exact comparison.

Needs neither pytest nor hypothesis. A network of two layers, run on the chip's arithmetic in both
memory orders:

>>> import numpy as np
>>> import npusim
>>> from npusim.ir.dtypes import DType
>>> from npusim.testing import GraphBuilder, assert_bit_equal, memory_orders, random_codes
>>> b = GraphBuilder(DType.U8)
>>> x = b.input("x", 1, 3, 8, 8)
>>> graph = b.done(b.node("relu", [b.conv(x, 4)]))
>>> program = npusim.compile(graph)
>>> codes = random_codes(np.random.default_rng(0), (1, 3, 8, 8), DType.U8)
>>> (first, *others) = [program.run_stored({"x": value}) for value in memory_orders(codes)]
>>> for other in others:
...     for name in graph.outputs:
...         assert_bit_equal(other[name], first[name], name)
"""

from npusim.testing.equal import assert_bit_equal
from npusim.testing.graphs import GraphBuilder, random_codes, usual_quant
from npusim.testing.layers import bound_layer, memory_orders

__all__ = [
    "GraphBuilder",
    "assert_bit_equal",
    "bound_layer",
    "memory_orders",
    "random_codes",
    "usual_quant",
]

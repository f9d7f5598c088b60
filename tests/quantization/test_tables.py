"""Lookup tables keep the rows that no calibration sample asked for."""

import numpy as np
import pytest

import npusim
from npusim.ir.attrs import AxisAttrs
from npusim.ir.dtypes import DType
from npusim.ir.tensor import TensorSpec
from npusim.quantization.tables import with_whole_tables
from npusim.testing import GraphBuilder

TABLE = np.arange(40, dtype=np.float32).reshape(10, 4) - 20


def embedding(table=TABLE):
    b = GraphBuilder()
    b.input("ids", 1, 2)
    b.graph.tensors["ids"] = TensorSpec(name="ids", shape=(1, 2), dtype=DType.I32)
    return b.done(b.node("gather", [b.constant("w", table), "ids"], "rows", AxisAttrs(axis=0)))


@pytest.mark.parametrize("algorithm", ["normal", "kl_divergence", "mmse", "moving_average"])
@pytest.mark.parametrize(("scheme", "step"), [("u8", 40 / 255), ("i8", 0.5), ("i16", 2**-9)])
def test_rows_that_no_sample_asked_for_are_not_cut_off(scheme, step, algorithm):
    sample = {"ids": np.array([[4, 5]], np.int32)}
    quantized = npusim.quantize(
        embedding(), [("middle", sample)], scheme=scheme, algorithm=algorithm
    )
    found = npusim.compile(quantized).run({"ids": np.array([[0, 9]], np.int32)})["rows"]
    assert np.abs(found - TABLE[[[0, 9]]]).max() <= step


def test_a_table_of_masks_and_unmeasured_results_are_left_alone():
    masks = TABLE.copy()
    masks[0] = -np.inf
    assert with_whole_tables(embedding(masks), {"rows": (0, 1)}) == {"rows": (0, 1)}
    assert with_whole_tables(embedding(), {"ids": (0, 1)}) == {"ids": (0, 1)}
    assert with_whole_tables(embedding(), {"rows": (0, 30)}) == {"rows": (-20, 30)}

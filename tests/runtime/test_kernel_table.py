"""Kernels are chosen from one table, which names every kernel of the runtime."""

from collections import Counter

import pytest

from npusim.errors import GraphError
from npusim.ir.dtypes import DType
from npusim.kernels import _jit
from npusim.runtime import isa
from npusim.runtime.convolution.step import _BINDS
from npusim.runtime.kernel_table import TABLE, Work, candidates, choose, listing
from tests.kernels.test_jit import import_every_kernel

NOT_OF_THE_RUNTIME = {
    "f32_conv.depthwise",
    "f32_conv.dot_panels",
    "statistics.divergences",
    "statistics.extremes",
    "statistics.histogram",
    "stretch.stretch_bilinear",
    "tape.walk",
    "wait.until_changed",
}


@pytest.fixture(params=isa.available())
def path(request, monkeypatch):
    monkeypatch.setenv("NPUSIM_ISA", request.param)
    isa.selected.cache_clear()
    yield request.param
    isa.selected.cache_clear()


def test_every_kernel_is_in_the_table():
    import_every_kernel()
    assert {entry.kernel.name for entry in TABLE} == set(_jit._KERNELS) - NOT_OF_THE_RUNTIME


def test_no_work_has_two_kernels_of_a_path():
    places = Counter(
        (entry.work, ifm, ofm, entry.path)
        for entry in TABLE
        for ifm in entry.ifm
        for ofm in entry.ofm
    )
    assert {place: count for place, count in places.items() if count > 1} == {}


def test_a_path_has_what_its_kernels_need():
    for entry in TABLE:
        if entry.path == isa.PORTABLE:
            assert entry.kernel.features == ()
        else:
            assert entry.kernel.features


def test_whatever_runs_on_a_path_runs_on_the_portable_one():
    portable = {
        (e.work, i, o) for e in TABLE if e.path == isa.PORTABLE for i in e.ifm for o in e.ofm
    }
    assert {(e.work, i, o) for e in TABLE for i in e.ifm for o in e.ofm} == portable


def test_the_fastest_comes_first_and_the_portable_one_last(path):
    for entry in TABLE:
        found = candidates(entry.work, entry.ifm[0], entry.ofm[0])
        of_path = {e.kernel: e.path for e in TABLE if e.work is entry.work}
        assert of_path[found[-1]] == isa.PORTABLE
        places = [isa.chain(path).index(of_path[kernel]) for kernel in found]
        assert places == sorted(places)


def test_every_kernel_of_convolutions_is_bound():
    works = (Work.CONVOLUTION, Work.DEPTHWISE)
    assert {entry.kernel for entry in TABLE if entry.work in works} == set(_BINDS)


def test_only_kernels_that_fit_are_chosen():
    for kernel in candidates(Work.NN_SUM, DType.U8, DType.U8):
        assert (
            choose(Work.NN_SUM, DType.U8, DType.U8, fits=lambda k, one=kernel: k is one) is kernel
        )


def test_work_without_a_kernel_is_an_error():
    with pytest.raises(GraphError, match=r"no kernel for max pool of f32 -> f32.*\n.*u8/i8"):
        choose(Work.MAX_POOL, DType.F32, DType.F32)


def test_the_listing_shows_gaps_and_what_is_in_use(path):
    rows = {(row["work"], row["types"]): row for row in listing()}
    row = rows["convolution", "f16"]
    others = dict.fromkeys(("avx2", "avx512vnni", "amx"))
    assert row["kernels"] == {"portable": "conv.conv2d_f16", **others}
    row = rows["convolution", "u8/i8"]
    assert row["in_use"] == ("portable" if path == isa.NEON else path)
    assert all(row["in_use"] and row["kernels"][row["in_use"]] for row in rows.values())

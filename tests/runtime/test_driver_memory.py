"""Blocks recorded from the vendor's simulator in which its driver loses data, and with a remedy."""

import logging
from pathlib import Path

import numpy as np
import pytest

import npusim
from npusim.conformance.golden import read_golden
from npusim.conformance.replay import prepared
from npusim.errors import ConfigError
from npusim.ir.attrs import AxisAttrs, ReshapeAttrs, SliceAttrs
from npusim.ir.dtypes import DType
from npusim.runtime.program import Program
from npusim.testing import GraphBuilder

CASES = list(read_golden(Path(__file__).with_name("driver_faults.npz")))
OUTCOMES = [case.name.split()[-1] for case in CASES]


def of(outcome):
    found = [case for case, own in zip(CASES, OUTCOMES, strict=True) if own == outcome]
    return pytest.mark.parametrize("case", found, ids=[case.name for case in found])


def outputs(case, graph, **choices):
    feeds = {name: case.arrays[name] for name in graph.inputs}
    return Program(graph, **choices).run_stored(feeds)


def differing(case, results):
    return {n: int((value != case.arrays[n]).sum()) for n, value in results.items()}


def test_every_kind_is_recorded():
    assert {name: OUTCOMES.count(name) for name in set(OUTCOMES)} == {
        "lost": 12,
        "mixed": 6,
        "copied": 15,
    }


@of("lost")
def test_what_the_driver_loses_is_named_and_reproduced(case, caplog):
    with caplog.at_level(logging.WARNING, "npusim"):
        graph = prepared(case)
    joins = [node.name for node in graph.nodes if node.op == "concat"]
    assert any(repr(name) in caplog.text for name in joins)
    assert "npusim explain concat-of-views" in caplog.text
    assert sum(differing(case, outputs(case, graph)).values()) > 0
    program = Program(graph, driver_faults="reproduce")
    for name, value in program.run_stored({n: case.arrays[n] for n in graph.inputs}).items():
        (source,) = graph.activations(graph.producers()[name])
        never_written = program.unknown.get(source) if case.name.startswith("dense") else None
        known = np.s_[:] if never_written is None else ~never_written
        assert value[known].size > 0
        np.testing.assert_array_equal(value[known], case.arrays[name][known])


@of("mixed")
def test_what_depends_on_chance_is_named_and_computed_right(case, caplog):
    graph = prepared(case)
    assert "npusim explain concat-of-views" in caplog.text
    caplog.clear()
    true, again = (outputs(case, graph, driver_faults=how) for how in ("correct", "reproduce"))
    assert "not known well enough" in caplog.text
    assert sum(differing(case, true).values()) > 0
    for name, value in true.items():
        np.testing.assert_array_equal(value, again[name])


@of("copied")
def test_with_other_parameters_the_driver_is_right_and_nothing_is_said(case, caplog):
    graph = prepared(case)
    assert not caplog.text
    assert not any(differing(case, outputs(case, graph)).values())


def focus(dtype=DType.U8):
    build = GraphBuilder(dtype)
    x = build.input("x", 1, 2, 6, 8)
    parts = [
        build.node(
            "slice",
            [x],
            f"p{row}{column}",
            SliceAttrs(begin=(0, 0, row, column), end=(1, 2, 6, 8), step=(1, 1, 2, 2)),
        )
        for column in (0, 1)
        for row in (0, 1)
    ]
    build.node("concat", parts, "j", AxisAttrs(axis=1))
    return build.done("j")


def test_elements_that_are_never_written_are_marked(caplog):
    program = npusim.compile(focus(), driver_faults="reproduce")
    (name,) = program.unknown
    mask = program.unknown[name]
    assert name == "j"
    assert mask.shape == (1, 8, 3, 4)
    assert not mask[:, :2].any()
    assert mask[:, 2:].all()
    assert "never writes 72 of its 96 elements" in caplog.text
    x = np.arange(96, dtype=np.uint8).reshape(1, 2, 6, 8)
    (value,) = program.run_stored({"x": x}).values()
    np.testing.assert_array_equal(value[:, :2], x[:, :, 1::2, 1::2])
    assert not value[mask].any()
    assert npusim.compile(focus()).unknown == {}


def test_a_reshape_that_fits_is_stored_with_the_strides_of_the_result():
    build = GraphBuilder(DType.U8)
    parts = []
    for number in range(2):
        made = build.node("abs", [build.input(f"x{number}", 1, 4, 1, 3)], f"a{number}")
        parts.append(build.node("reshape", [made], f"r{number}", ReshapeAttrs(shape=(1, 2, 2, 3))))
    build.node("concat", parts, "j", AxisAttrs(axis=1))
    program = npusim.compile(build.done("j"), driver_faults="reproduce")
    codes = [np.arange(128 + 12 * i, 140 + 12 * i, dtype=np.uint8) for i in range(2)]
    feeds = {f"x{i}": value.reshape(1, 4, 1, 3) for i, value in enumerate(codes)}
    (value,) = program.run_stored(feeds).values()
    np.testing.assert_array_equal(value[0, :, 0], codes[1].reshape(4, 3))
    assert not value[0, :, 1].any()


def test_the_choice_is_one_of_two_words():
    with pytest.raises(ConfigError, match=r"correct .* or reproduce"):
        npusim.compile(focus(), driver_faults="same")


def test_a_recording_reproduces_as_its_program_does():
    graph = focus().copy(batch=2)
    program = npusim.compile(graph, driver_faults="reproduce")
    sample = {"x": np.random.default_rng(0).uniform(-6, 6, (1, 2, 6, 8)).astype(np.float32)}
    (last,) = (r for r in npusim.record_program(program, sample).layers if r.tensor == "j")
    assert not last.stored[:, 2:].any()

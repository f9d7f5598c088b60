"""Runs, sources and dumps line up through the source model's nodes, whoever wrote the files."""

import hashlib
import re
from dataclasses import replace

import numpy as np
import pytest
from onnx import helper

import npusim
from npusim.analysis.compare import compare
from npusim.analysis.dump import INDEX_NAME, DumpOptions, LayerDump
from npusim.analysis.dump_folder import read_dump
from npusim.analysis.names import file_part, origin_from, origin_text
from npusim.analysis.recording import (
    LayerOutput,
    Recording,
    align,
    record_float,
    record_program,
)
from npusim.analysis.snapshot import write_snapshot
from npusim.errors import ConfigError, InputError
from npusim.ir.attrs import AxisAttrs, Conv2dAttrs, PoolKind, ReshapeAttrs
from npusim.ir.attrs import GlobalPoolAttrs as PoolAttrs
from npusim.testing import GraphBuilder
from tests.rknn.conftest import conv_weights, write_onnx

RNG = np.random.default_rng(11)


def net():
    """conv, relu6, two equal-sized convs, global pool, flatten, softmax."""
    b = GraphBuilder()
    b.input("x", 1, 3, 6, 7)
    for name, source, channels in (("a", "x", 3), ("c", "r", 5), ("d", "c", 5)):
        weights = RNG.normal(size=(5, channels, 3, 3)) * 0.4
        inputs = [source, b.constant(f"{name}.w", weights), b.constant(f"{name}.b", np.ones(5) / 9)]
        b.node("conv2d", inputs, name, Conv2dAttrs(pad=(1, 1, 1, 1)))
        if name == "a":
            b.node("relu6", ["a"], "r")
    b.node("global_pool", ["d"], "p", PoolAttrs(kind=PoolKind.AVG))
    b.node("reshape", ["p"], "f", ReshapeAttrs(shape=(1, 5)))
    b.node("softmax", ["f"], "y", AxisAttrs(axis=1))
    graph = b.done("y")
    return graph.copy(
        nodes=tuple(replace(n, origin=(f"node {n.outputs[0]}",)) for n in graph.nodes)
    )


FEEDS = {"x": RNG.uniform(0, 9, (1, 3, 6, 7)).astype(np.float32)}


@pytest.fixture(scope="module")
def graph():
    return net()


@pytest.fixture(scope="module")
def programs(graph):
    made = {}
    for scheme in ("u8", "i16", "f16"):
        made[scheme] = npusim.compile(npusim.quantize(graph, [("s", FEEDS)], scheme=scheme))
    return made


@pytest.fixture(scope="module")
def runs(programs):
    return {k: record_program(p, FEEDS, preprocessed=True) for k, p in programs.items()}


def dumped(program, folder, layout="NHWC"):
    dump = LayerDump(program, folder, DumpOptions(layout=layout))
    program.run(FEEDS, preprocessed=True, observe=dump.observe)
    dump.close()
    return folder


def change(path, content):
    """Write other values into a file of a dump, as if the run had given them."""
    index = path.with_name(INDEX_NAME)
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    path.write_text(content)
    after = hashlib.sha256(path.read_bytes()).hexdigest()
    index.write_text(index.read_text().replace(before, after))


def same(comparison):
    return all(row.difference.max_abs == 0 for row in comparison.layers)


def test_a_fused_layer_lines_up_by_its_last_source_node(graph, runs):
    fused, separate = runs["u8"], runs["f16"]
    assert fused.layers[0].origin == ("node a", "node r")
    assert [row.tensor for row in separate.layers][:2] == ["a", "r"]
    pairs, alone = align(separate, fused)
    assert [(p.actual.tensor, p.reference.tensor) for p in pairs][:2] == [("r", "r"), ("c", "c")]
    assert [row.tensor for row in alone] == ["a"]
    renamed = replace(
        fused, layers=tuple(replace(row, tensor=f"{row.tensor}!") for row in fused.layers)
    )
    by_origin, _ = align(separate, renamed)
    assert [(p.actual.tensor, p.reference.tensor) for p in by_origin] == [
        (t, f"{t}!") for t in ("r", "c", "d", "p", "f", "y")
    ]
    comparison = compare(runs["u8"], record_float(graph, FEEDS))
    assert [row.tensor for row in comparison.layers] == ["r", "c", "d", "p", "f", "y"]
    assert comparison.unmatched == ()
    assert comparison.first_wrong is None


def test_two_number_formats_and_their_labels(runs):
    comparison = compare(runs["u8"], runs["i16"])
    assert (comparison.actual, comparison.reference) == ("u8 + f16", "i16 + f16")
    assert comparison.layers[0].dtype == "u8"  # steps are those of the first run
    assert 1 < comparison.layers[0].difference.max_steps < 10
    assert comparison.to_dict()["reference"] == "i16 + f16"
    assert same(compare(runs["u8"], runs["u8"]))


def test_a_part_of_a_file_is_compared_with_the_float_engine(tmp_path):
    weights = conv_weights(4, 3) | {f"{k}2": v for k, v in conv_weights(4, 4).items()}
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"]),
        helper.make_node("Conv", ["c", "w2", "b2"], ["y"]),
    ]
    path = write_onnx(
        tmp_path / "two.onnx", nodes, {"x": (1, 3, 9, 9)}, {"y": (1, 4, 5, 5)}, weights
    )
    for name, shape in (("x", (1, 3, 9, 9)), ("c", (1, 4, 7, 7))):
        part = npusim.load_model(path, inputs=[name], input_shapes={name: shape})
        feeds = {name: RNG.normal(size=shape).astype(np.float32)}
        program = npusim.compile(npusim.quantize(part, [("s", feeds)]))
        source = npusim.record_source(part, feeds)
        found = compare(record_program(program, feeds, preprocessed=True), source)
        assert len(found.layers) == len(part.nodes)
        assert found.first_wrong is None
        assert source.label.startswith("float (ONNX Runtime" if name == "x" else "float (onnxr")


def test_another_input_shape_is_refused(runs):
    small = replace(runs["u8"].layers[0], stored=runs["u8"].layers[0].stored[:, :, :3])
    with pytest.raises(InputError, match=r"same input shapes"):
        align(runs["u8"], replace(runs["u8"], layers=(small,)))


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_own_dump_with_its_index(programs, runs, tmp_path, layout):
    folder = dumped(programs["u8"], tmp_path, layout)
    alone = read_dump(folder)
    assert [row.tensor for row in alone.layers] == [row.tensor for row in runs["u8"].layers]
    assert alone.layers[0].origin == ("node a", "node r")
    for like in (None, runs["u8"]):
        comparison = compare(read_dump(folder, like=like), runs["u8"])
        assert same(comparison)
        assert len(comparison.layers) == 6
        assert comparison.notes == ()


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_a_board_s_dump_by_number_and_size_in_any_order(programs, runs, tmp_path, layout):
    folder = dumped(programs["u8"], tmp_path, layout)
    (folder / "nn_layer_dump_index.csv").unlink()
    comparison = compare(read_dump(folder, like=runs["u8"]), runs["u8"])
    assert same(comparison)
    assert len(comparison.layers) == 6
    assert comparison.layers[0].op == "conv2d"  # what the files do not say comes from the run
    assert f"axis order {layout}: nearer for 3 of 3" in comparison.notes[0]
    wrong = "NCHW" if layout == "NHWC" else "NHWC"
    forced = read_dump(folder, like=runs["u8"], layout=wrong)
    assert compare(forced, runs["u8"]).first_wrong == runs["u8"].layers[0].layer


@pytest.mark.parametrize("direction", [1, -1])
@pytest.mark.parametrize("era", ["1.7", "older", "current"])
def test_a_board_s_dump_with_numbers_of_its_own(programs, runs, tmp_path, direction, era):
    folder = dumped(programs["u8"], tmp_path / "LayerDump", "NCHW")
    (folder / "nn_layer_dump_index.csv").unlink()
    files = sorted(folder.iterdir(), key=lambda p: int(p.name.split("_")[1]))
    for i, path in enumerate(files):
        uid = 100 + 7 * i * direction
        found = re.fullmatch(r"NodeID_\d+_(.*)_w_(\d+)_h_(\d+)_d_(\d+)_.*", path.name)
        name = path.name.replace(path.name.split("_")[1], str(uid), 1)
        if era == "older":
            name = f"{found[1]}_{uid}_{found[2]}_{found[3]}_{found[4]}_1.txt"
        elif era == "current":  # the same values twice
            (folder / f"layerOut_0_uid_-1_NodeID_{i}_{found[1]}.txt").write_bytes(path.read_bytes())
            name = f"operation_{uid}_{found[1]}.txt"
        path.rename(folder / name)
    if era == "older":  # a layer that npusim does not have
        (folder / "TensorTranspose_3_2_9_1_1.txt").write_text("0\n" * 18)
    comparison = compare(read_dump(tmp_path, like=runs["u8"]), runs["u8"])
    assert same(comparison)
    assert len(comparison.layers) == 6
    assert len(comparison.unmatched) == (1 if era == "older" else 0)
    assert any("by order and size" in note for note in comparison.notes)


def test_the_first_layer_that_goes_wrong(programs, runs, tmp_path):
    folder = dumped(programs["u8"], tmp_path)
    path = next(p for p in folder.glob("NodeID_*") if p.name.startswith("NodeID_4_"))
    values = np.loadtxt(path)
    change(path, "".join(f"{v}\n" for v in values[::-1]))
    comparison = compare(read_dump(folder, like=runs["u8"]), runs["u8"])
    assert comparison.first_wrong == "n_d_4"
    assert comparison.hint == ""


def test_files_of_zeros_are_named(programs, runs, tmp_path):
    folder = dumped(programs["u8"], tmp_path)
    path = next(p for p in folder.glob("NodeID_*") if "Softmax" in p.name)
    change(path, "0.000000\n" * 5)
    comparison = compare(read_dump(folder, like=runs["u8"]), runs["u8"])
    assert comparison.first_wrong == comparison.layers[-1].layer
    assert f"only zeros in {path.name}" in comparison.notes[0]


@pytest.mark.parametrize("kind", ["tensor", "npy"])
@pytest.mark.parametrize("part", ["", "entire_qnt"])
def test_snapshots_of_accuracy_analysis(graph, programs, runs, tmp_path, kind, part):
    analysis = npusim.analyze(graph, programs["u8"], FEEDS)
    write_snapshot(analysis, graph, tmp_path, file_type=kind)
    recording = read_dump(tmp_path / part, like=runs["u8"])
    comparison = compare(recording, runs["u8"])
    assert same(comparison)
    assert len(comparison.layers) == 6
    assert comparison.unmatched == ("n_a_1",)  # the convolution's file holds the relu6's result
    # the vendor's numbers are others: names decide
    for path in (tmp_path / "entire_qnt").iterdir():
        path.rename(path.with_name(re.sub(r"_(\d+)_out", r"_9\1_out", path.name)))
    assert same(compare(read_dump(tmp_path, like=runs["u8"]), runs["u8"]))
    against = read_dump(tmp_path / "individual_qnt")
    assert len(compare(against, read_dump(tmp_path / "fp32")).layers) == 7


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("notes.txt", "", "none of its 1 files is a layer dump"),
        ("12_ConvLayer_0_400.bin", "", "pre-compiled"),
        ("NodeID_1_X_w_2_h_1_d_1_batchID_0_out_0.txt", "1\n", "1 values"),
        ("NodeID_1_X_w_2_h_1_d_1_batchID_0_out_0.txt", "1\nabc\n", "cannot be read"),
        ("a_1_out0_nhwc_2.npy", "junk", "cannot be read"),
        ("nn_layer_dump_index.csv", "uid,layer\n1,a\n", "line 2 is damaged"),
    ],
)
def test_damaged_dumps_name_the_file(tmp_path, name, content, words):
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=words):
        read_dump(tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        read_dump(tmp_path / "missing")
    with pytest.raises(ConfigError, match="NHWC"):
        read_dump(tmp_path, layout="WHCN")


def test_names_in_files_and_indexes():
    assert file_part("a/b c_7") == "a_b%20c_7"
    assert file_part("../x_1") == "%2E._x_1"
    assert file_part("%2E._x_1") == "%252E._x_1"
    long = file_part("层" * 200 + "_12")
    assert len(long) < 200
    assert long.endswith("_12")
    assert file_part("层" * 201 + "_12") != long
    for origin in (("a b", 'c"d', "100%"), ("层1",), ("%20",)):
        assert origin_from(origin_text(origin)) == origin


class Stopped(Exception):
    pass


@pytest.mark.parametrize("before", [False, True])
def test_a_dump_that_stopped_is_no_dump(programs, runs, tmp_path, before):
    if before:
        dumped(programs["i16"], tmp_path)
    with LayerDump(programs["u8"], tmp_path) as dump:
        programs["u8"].run(FEEDS, preprocessed=True, observe=dump.observe)  # without an index
    with pytest.raises(InputError, match=r"no whole dump: The layer dump of run [0-9a-f]{16}"):
        read_dump(tmp_path)
    assert same(compare(read_dump(dumped(programs["u8"], tmp_path), like=runs["u8"]), runs["u8"]))


def test_files_of_two_runs_are_not_mixed(programs, tmp_path):
    dumped(programs["u8"], tmp_path / "one")
    dumped(programs["i16"], tmp_path / "two")
    files = [{p.name for p in (tmp_path / one).glob("NodeID_*")} for one in ("one", "two")]
    name = min(files[0] & files[1])
    (tmp_path / "two" / name).rename(tmp_path / "one" / name)
    with pytest.raises(InputError, match="not the file that the dump's index names"):
        read_dump(tmp_path / "one")


def test_two_dumps_at_a_time_into_one_folder_are_refused(programs, tmp_path):
    with LayerDump(programs["u8"], tmp_path) as dump:
        with pytest.raises(ConfigError, match="another run is writing a layer dump"):
            LayerDump(programs["u8"], tmp_path)
        programs["u8"].run(FEEDS, preprocessed=True, observe=dump.observe)
        dump.close()
    assert len(read_dump(tmp_path).layers) == 6


@pytest.mark.parametrize("part", ["", "entire_qnt"])
def test_a_snapshot_that_stopped_is_none(graph, programs, tmp_path, part):
    analysis = npusim.analyze(graph, programs["u8"], FEEDS)

    def stopped():
        raise Stopped

    with pytest.raises(Stopped):
        write_snapshot(analysis, graph, tmp_path, more=stopped)
    with pytest.raises(InputError, match="accuracy analysis of run"):
        read_dump(tmp_path / part)
    write_snapshot(analysis, graph, tmp_path)
    assert len(read_dump(tmp_path / part).layers) == 7


def test_a_layer_that_a_later_one_goes_on_with_has_no_counterpart():
    """A pool moved in front of its activation: the sums are not what the source layer gives."""

    def row(layer, *origin, size=4):
        return LayerOutput(
            layer=layer, op="conv2d", engine="NN", origin=origin, stored=np.ones(size, np.float32)
        )

    source = Recording(label="source", layers=(row("a", "conv"), row("b", "pool")))
    moved = row("sums", "conv"), row("pooled", size=2), row("act", "conv", "pool")
    pairs, alone = align(Recording(label="moved", layers=moved), source)
    assert [(p.actual.layer, p.reference.layer) for p in pairs] == [("act", "b")]
    assert [one.layer for one in alone] == ["sums", "pooled"]
    pairs, _ = align(Recording(label="as it was", layers=(moved[0], row("b", "pool"))), source)
    assert [(p.actual.layer, p.reference.layer) for p in pairs] == [("sums", "a"), ("b", "b")]

"""npusim's model file: exact round trips, and refusal of everything else with a reason."""

import dataclasses
import json
import math
import os
import struct
import typing
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from npusim.errors import ConfigError, ContainerError
from npusim.ir import archive, attrs
from npusim.ir.codec import CodecError, decode, encode
from npusim.ir.dtypes import DType
from npusim.ir.graph import FARTHEST, FITS, Engine, Graph, Node, Preprocess, Source
from npusim.ir.quant import Affine, AffinePerChannel, DynamicFixedPoint, Float, Requant, Rounding
from npusim.ir.tensor import TensorSpec
from npusim.passes.pipeline import lower, upgraded
from npusim.quantization.float16 import to_float16
from npusim.testing import GraphBuilder
from tests.passes.engine_net import Net

RECORDS = sorted(
    (
        value
        for value in vars(attrs).values()
        if isinstance(value, type) and issubclass(value, attrs.Attrs)
    ),
    key=lambda kind: kind.__name__,
)
st.register_type_strategy(float, st.floats(allow_nan=False))


def records(kind):
    hints = typing.get_type_hints(kind)
    return st.builds(
        kind, **{f.name: st.from_type(hints[f.name]) for f in dataclasses.fields(kind)}
    )


scales = st.floats(2**-120, 2**120, width=32)
quants = st.one_of(
    st.just(Float()),
    st.builds(Affine, scale=scales, zero_point=st.integers(-(2**31), 2**31)),
    st.builds(
        AffinePerChannel,
        scales=st.lists(scales, max_size=4).map(tuple),
        zero_points=st.lists(st.integers(0, 255), max_size=4).map(tuple),
        axis=st.integers(0, 3),
    ),
    st.builds(DynamicFixedPoint, fl=st.integers(-40, 40)),
)
requants = st.builds(
    Requant,
    multiplier=st.integers(0, 2**31),
    shift=st.integers(-64, 64),
    zero_point=st.integers(-128, 255),
    rounding=st.sampled_from(Rounding),
)


@pytest.mark.parametrize("kind", RECORDS, ids=lambda kind: kind.__name__)
@given(data=st.data())
def test_every_attribute_record_round_trips(kind, data):
    node = Node(
        name=data.draw(st.text(max_size=20)),
        op="some_op",
        inputs=("层1", "x:y/z"),
        outputs=("o",),
        attrs=data.draw(records(kind)),
        uid=3,
        origin=("a b",),
        engine=data.draw(st.sampled_from([None, *Engine])),
        requant=data.draw(st.none() | requants),
    )
    through = json.loads(json.dumps(encode(node), allow_nan=False))
    assert decode(Node, through) == node


@st.composite
def preprocesses(draw):
    """Draw what pictures of some channels can be prepared with."""
    channels = draw(st.integers(1, 4))
    finite = st.floats(-FARTHEST, FARTHEST)

    def some(values):
        return draw(st.just(()) | st.tuples(*[values] * channels))

    return Preprocess(
        mean=some(finite),
        std=some(finite.filter(lambda n: abs(n) >= 1 / FARTHEST)),
        reorder=draw(st.just(()) | st.permutations(range(channels)).map(tuple)),
        fit=draw(st.sampled_from(FITS)),
    )


def fitting(quant, dtype):
    """Return parameters that a type can have: none, or zero points that it holds."""
    if dtype.is_float or dtype is DType.BOOL:
        return Float()
    if isinstance(quant, Affine):
        held = min(max(quant.zero_point, dtype.min), dtype.max)
        return dataclasses.replace(quant, zero_point=held)
    if isinstance(quant, AffinePerChannel):
        held = tuple(min(max(zero, dtype.min), dtype.max) for zero in quant.zero_points)
        return dataclasses.replace(quant, zero_points=held)
    return quant


@given(
    quant=quants,
    dtype=st.sampled_from(DType),
    shape=st.lists(st.integers(0, 9), max_size=5).map(tuple),
    batch=st.integers(1, 64),
    how=preprocesses(),
    source=records(Source),
    seed=st.integers(0, 1000),
)
def test_graph_round_trips(tmp_path_factory, quant, dtype, shape, batch, how, source, seed):
    path = tmp_path_factory.mktemp("archive") / "model.rknn"
    quant = fitting(quant, dtype)
    rng = np.random.default_rng(seed)
    constants = {
        "w": rng.integers(0, 256, (*shape, dtype.itemsize), np.uint8)
        .view(dtype.numpy)
        .reshape(shape)
        if dtype is not DType.BOOL
        else rng.integers(0, 2, shape).astype(bool),
        "empty": np.empty((0, 3), np.float16),
        "transposed": np.arange(6, dtype=np.int64).reshape(2, 3).T,
    }
    specs = [TensorSpec(name="x", shape=shape, dtype=dtype, quant=quant)]
    specs += [
        TensorSpec(name=k, shape=v.shape, dtype=DType.of(v.dtype)) for k, v in constants.items()
    ]
    specs.append(TensorSpec(name="y", shape=shape, dtype=dtype, quant=quant))
    graph = Graph(
        name="g",
        nodes=(Node(name="n", op="add", inputs=("x", "w"), outputs=("y",)),),
        inputs=("x",),
        outputs=("y", "empty", "transposed"),
        tensors={spec.name: spec for spec in specs},
        constants=constants,
        preprocess={"x": how},
        source=source,
        target="rk3399pro",
        batch=batch,
        notes=("one", "two"),
    )
    archive.save(graph, path, meta={"targets": ["RK1808"]})
    again = archive.load(path)
    for field in dataclasses.fields(Graph):
        if field.name != "constants":
            assert getattr(again, field.name) == getattr(graph, field.name)
    assert list(again.constants) == list(constants)
    for name, value in constants.items():
        found = again.constants[name]
        assert found.dtype == value.dtype
        assert found.tobytes() == np.ascontiguousarray(value).tobytes()
        assert found.shape == value.shape
    assert archive.load_with_meta(path)[1] == {"targets": ["RK1808"]}


def weights_graph(weights):
    b = GraphBuilder(name="g")
    bias = b.constant("b", np.zeros(len(weights)))
    return b.done(b.node("fc", [b.input("x", 1, weights.shape[1]), b.constant("w", weights), bias]))


@pytest.fixture
def stored(tmp_path):
    path = tmp_path / "m.rknn"
    weights = np.random.default_rng(0).standard_normal((64, 128)).astype(np.float32)
    archive.save(weights_graph(weights), path)
    return path


def test_constants_are_read_only_and_aligned(stored):
    weights = archive.load(stored).constants["w"]
    assert not weights.flags.writeable
    assert not weights.flags.owndata
    assert weights.flags.aligned
    assert weights.flags.c_contiguous
    assert weights.ctypes.data % 64 == 0


def test_load_leaves_no_descriptor_behind(stored):
    def count():
        return len(os.listdir("/proc/self/fd"))

    archive.load(stored)
    before = count()
    for _ in range(50):
        archive.load(stored)
    assert count() == before


def test_case_1_10_float16_file_is_half_of_float32(tmp_path):
    graph = weights_graph(np.ones((256, 512), np.float32))
    archive.save(graph, tmp_path / "f32")
    archive.save(to_float16(graph), tmp_path / "f16")
    ratio = (tmp_path / "f16").stat().st_size / (tmp_path / "f32").stat().st_size
    assert 0.49 < ratio < 0.52


def test_truncation_is_found_at_every_length(stored, tmp_path):
    whole = stored.read_bytes()
    short = tmp_path / "short.rknn"
    for length in [0, 1, 7, 8, 50, 95, 96, 200, len(whole) // 2, len(whole) - 1]:
        short.write_bytes(whole[:length])
        with pytest.raises(ContainerError, match=r"truncated|an empty file"):
            archive.load(short)
    short.write_bytes(whole + b"x")
    with pytest.raises(ContainerError, match="too long"):
        archive.load(short)


@given(place=st.integers(96, 33000), bit=st.integers(0, 7))
def test_any_flipped_bit_is_found(tmp_path_factory, place, bit):
    folder = tmp_path_factory.mktemp("flip")
    archive.save(weights_graph(np.ones((64, 128), np.float32)), folder / "m")
    data = bytearray((folder / "m").read_bytes())
    data[place] ^= 1 << bit
    (folder / "m").write_bytes(data)
    with pytest.raises(ContainerError, match="damaged"):
        archive.load(folder / "m")


def test_future_version_says_so(stored):
    data = bytearray(stored.read_bytes())
    struct.pack_into("<I", data, 8, archive.VERSION + 1)
    stored.write_bytes(data)
    with pytest.raises(ContainerError, match=r"container version 4(.|\n)*update npusim"):
        archive.load(stored)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"hello, world", "no model file"),
        (b"CYPTRKNN" + bytes(40), "encrypted"),
        (b"RKNN" + bytes(4), "truncated"),
        (b"RKNN" + struct.pack("<IQQ", 0, 1, 10**15) + bytes(64), "truncated or damaged"),
        (b"RKNN" + struct.pack("<IQQ", 0, 6, 10) + bytes(64), "RKNN-Toolkit2"),
    ],
)
def test_foreign_files_are_named(tmp_path, content, says):
    path = tmp_path / "foreign.rknn"
    path.write_bytes(content)
    with pytest.raises(ContainerError, match=says) as caught:
        archive.load(path)
    assert str(path) in str(caught.value)


def vendor_file(path, *, precompiled, version=1, extra=b"", data=b"VPMN" + bytes(100)):
    tensors = [
        {
            "tensor_id": i,
            "size": [640, 480, 3, 1] if i < 4 else [10, 1],
            "dtype": {
                "qnt_type": "VSI_NN_QNT_TYPE_AFFINE_ASYMMETRIC",
                "vx_type": "VSI_NN_TYPE_UINT8",
                "scale": 0.5 * (i + 1),
                "zero_point": 100 + i,
            },
            "url": f"tensor{i}",
        }
        for i in range(5)
    ]
    ends = [
        {
            "left": "input" if i < 4 else "output",
            "left_tensor_id": i % 4,
            "right": "norm_tensor",
            "right_tensor_id": i,
        }
        for i in range(5)
    ]
    config = {
        "target_platform": ["RK1808"],
        "pre_compile": int(precompiled),
        "mean_value": [1, 2, 3],
        "std_value": [4.0, 5.0, 6.0],
        "reorder": [2, 1, 0],
        "norm_tensor": tensors,
        "graph": ends,
    }
    text = json.dumps(config).encode()
    path.write_bytes(
        b"RKNN"
        + struct.pack("<IQQ", 0, version, len(data))
        + extra
        + data
        + struct.pack("<Q", len(text))
        + text
    )


@pytest.mark.parametrize(("version", "extra"), [(1, b""), (2, bytes(40))])
def test_case_1_18_precompiled_vendor_file_is_explained(tmp_path, version, extra):
    path = tmp_path / "vendor.rknn"
    vendor_file(path, precompiled=True, version=version, extra=extra)
    with pytest.raises(ContainerError, match="pre-compiled") as caught:
        archive.load(path)
    text = str(caught.value)
    for i in range(4):
        assert f"input  tensor{i}: UINT8 [1, 3, 480, 640] scale {0.5 * (i + 1)}" in text
        assert f"zero_point {100 + i}" in text
    assert "output tensor4: UINT8 [1, 10]" in text
    assert "prepared with mean 1 2 3, std 4.0 5.0 6.0, reorder 2 1 0" in text
    assert "RK1808" in text


def test_ordinary_vendor_file_is_refused(tmp_path):
    path = tmp_path / "vendor.rknn"
    vendor_file(path, precompiled=False, data=b"weights!")
    with pytest.raises(ContainerError, match="vendor model") as caught:
        archive.load(path)
    assert "pre-compiled" not in str(caught.value)


def rewrite(path, change):
    """Apply a change to the JSON of a stored model and make the file consistent again."""
    import hashlib

    data = path.read_bytes()
    magic, version, zero, size, data_bytes, _, data_digest = archive._HEAD.unpack(data[:96])
    content = json.loads(data[96 : 96 + size])
    change(content)
    text = json.dumps(content).encode()
    block = data[len(data) - data_bytes :]
    head = archive._HEAD.pack(
        magic, version, zero, len(text), data_bytes, hashlib.sha256(text).digest(), data_digest
    )
    body = head + text
    path.write_bytes(body + bytes(-len(body) % 64) + block)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda c: c["constants"]["w"].update(offset=1 << 40), "beyond the end"),
        (lambda c: c["constants"]["w"].update(offset=-64), "impossible place"),
        (lambda c: c["constants"]["w"].update(shape=[1 << 40, 1 << 40]), "beyond the end"),
        (lambda c: c["constants"]["w"].update(dtype="object"), "not valid"),
        (lambda c: c["graph"]["tensors"][0].update(shape=[1 << 20, 1 << 20]), "absurd shape"),
        (lambda c: c["graph"]["tensors"][0].update(shape="abc"), "not a list"),
        (lambda c: c["graph"]["nodes"][0]["attrs"].update(type="Popen"), "Popen"),
        (lambda c: c["graph"]["nodes"][0]["attrs"].update(colour="red"), "colour"),
        (lambda c: c["graph"]["nodes"][0].pop("op"), "op"),
        (lambda c: c["graph"]["nodes"][0].update(inputs=["x", "w", "nothing"]), "nothing"),
        (lambda c: c["graph"].update(batch=0), "batch"),
        (lambda c: c["graph"].update(batch=10**400), "batch"),
        (lambda c: c["graph"].update(target="\ud800"), "is no text"),
        (lambda c: c["graph"].update(coded=["\ud800"]), "is no text"),
        (lambda c: c["graph"].pop("target"), "target"),
    ],
)
def test_inconsistent_descriptions_are_refused(stored, change, says):
    rewrite(stored, change)
    with pytest.raises(ContainerError, match=says):
        archive.load(stored)


def test_missing_and_unwritable_paths(tmp_path):
    with pytest.raises(ContainerError, match="cannot be read"):
        archive.load(tmp_path / "none.rknn")
    with pytest.raises(ContainerError, match="cannot be read"):
        archive.load(tmp_path)
    graph = weights_graph(np.ones((2, 2), np.float32))
    with pytest.raises(ContainerError, match="cannot be written"):
        archive.save(graph, tmp_path / "no" / "such" / "folder.rknn")


def test_a_failing_write_leaves_the_old_file_and_nothing_else(stored):
    before = stored.read_bytes()
    graph = weights_graph(np.zeros((2, 2), np.float32))
    with (
        mock.patch("os.fsync", side_effect=OSError(28, "No space left on device")),
        pytest.raises(ContainerError, match="No space left"),
    ):
        archive.save(graph, stored)
    assert stored.read_bytes() == before
    assert [p.name for p in stored.parent.iterdir()] == [stored.name]


def test_a_saved_file_has_ordinary_permissions(stored):
    probe = stored.with_name("probe")
    probe.write_bytes(b"")
    assert stored.stat().st_mode == probe.stat().st_mode


def test_a_scale_that_is_no_number_is_named_with_its_tensor(tmp_path):
    path = tmp_path / "m.npusim"
    graph = weights_graph(np.ones((2, 2)))
    archive.save(graph, path)

    def without_scale(content):
        content["tensors"][0]["quant"] = {"type": "Affine", "scale": 0.0, "zero_point": 0}

    rewrite(path, lambda content: without_scale(content["graph"]))
    name = next(iter(graph.tensors))
    with pytest.raises(ContainerError, match=rf"m.npusim(.|\n)*tensor '{name}'(.|\n)*float32"):
        archive.load(path)


def test_codec_refuses_what_it_cannot_store():
    with pytest.raises(CodecError, match="ndarray"):
        encode(np.zeros(3))
    with pytest.raises(CodecError, match="Graph"):
        encode(weights_graph(np.ones((2, 2), np.float32)))
    assert encode((np.int64(3), np.float32(0.5), np.bool_(True), math.inf)) == [3, 0.5, True, "inf"]
    with pytest.raises(CodecError, match="is not int"):
        decode(DynamicFixedPoint, {"type": "DynamicFixedPoint", "fl": True})
    with pytest.raises(CodecError, match="positive finite float32"):
        decode(Affine, {"type": "Affine", "scale": -1.0})


def test_places_come_back_and_files_without_forms_get_them(tmp_path):
    net = Net(DType.U8)
    total = net.op("add", net.conv(net.x), net.conv(net.x), attrs=attrs.EltwiseAttrs())
    net.op("relu", total)
    lowered = lower(net.done())
    path = tmp_path / "m.npusim"
    archive.save(lowered, path)
    assert archive.load(path).nodes == lowered.nodes

    def without_forms(content):
        for node in content["graph"]["nodes"]:
            del node["form"]

    rewrite(path, without_forms)
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, 8, 1)
    path.write_bytes(data)
    old = archive.load(path)
    assert [node.engine for node in old.nodes] == [node.engine for node in lowered.nodes]
    assert {node.form for node in old.nodes} == {None}
    assert upgraded(old).nodes == lowered.nodes


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"std": (1.0, 0.0, 1.0)}, "not 0"),
        ({"std": (float("nan"),)}, "finite"),
        ({"mean": (float("inf"),)}, "finite"),
        ({"mean": (1.0, 2.0), "std": (1.0, 2.0, 3.0)}, "one number for all"),
        ({"reorder": (3, 1, 0)}, "an order of the channels"),
        ({"reorder": (0, 0, 0)}, "an order of the channels"),
        ({"reorder": (-1, 0, 1)}, "an order of the channels"),
    ],
)
def test_no_picture_is_prepared_with_wrong_numbers(wrong, words):
    with pytest.raises(ConfigError, match=words):
        Preprocess(**wrong)

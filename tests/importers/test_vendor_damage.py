"""Vendor files with damaged descriptions end in an error that says where, or load; nothing else."""

import json
import struct

import numpy as np
import pytest

import npusim
from npusim.errors import ContainerError, NpusimError, UnsupportedOpError
from tests.importers.test_vendor_files import convolved, moved
from tests.importers.vendor_build import File, fmt
from tests.nested import changed, places, without

ODD: tuple[object, ...] = (
    None,
    -1,
    0,
    3,
    2**31,
    2**63,
    10**30,
    1.5,
    float("nan"),
    "",
    "x",
    [],
    [None],
    [-1],
    {},
    True,
)
U8, BOOL = fmt("u1", 0.02, 128), {"vx_type": "VSI_NN_TYPE_BOOL8"}


def parts(path):
    """Return the file's head with its data, and its description."""
    raw = path.read_bytes()
    (size,) = struct.unpack_from("<Q", raw, 16)
    return raw[: 24 + size], json.loads(raw[32 + size :])


def write(path, head, description):
    text = json.dumps(description).encode()
    path.write_bytes(head + struct.pack("<Q", len(text)) + text)
    return path


def rare(path):
    """Layers of many kinds on one input."""
    file = File()
    x = file.input((1, 4, 3, 5), U8)
    (a,) = file.layer("REVERSE", "a", 20, (x,), U8, nn={"reverse": {"axis": [0, 2]}})
    (b,) = file.layer("RELUN", "b", 19, (a,), U8, nn={"relun": {"relu_n": 2.0}})
    (g,) = file.layer(
        "RELATIONAL_OPS", "g", 18, (x, b), BOOL, nn={"r": {"op": "VSI_NN_RELATIONAL_OPS_GREAT"}}
    )
    (n,) = file.layer("LOGICAL_NOT", "n", 17, (g,), BOOL)
    (s,) = file.layer("SELECT", "s", 16, (n, x, b), U8)
    (c,) = file.layer("STACK", "c", 15, (s, b), U8, nn={"stack": {"axis": 4}})
    (r,) = file.layer("RESHAPE", "r", 14, (c,), U8, nn={"reshape": {"size": [5, 3, 8]}})
    weights = file.constant(np.arange(48, dtype=np.uint8).reshape(2, 8, 3), U8)
    (q,) = file.layer(
        "SLICE", "q", 13, (r,), U8, nn={"slice": {"start": [0, 0, 0], "length": [5, 1, 8]}}
    )
    (t,) = file.layer("PERMUTE", "t", 12, (q,), U8, nn={"permute": {"perm": [0, 2, 1]}})
    (v,) = file.layer(
        "CONV1D",
        "v",
        11,
        (t, weights),
        U8,
        nn={"conv1d": {"ksize": 3, "stride": 2, "pad": [1, 1], "group": 1}},
    )
    file.output(v, (1, 2, 3), U8)
    return file.save(path)  # fmt: skip


BUILDERS = {"convolved": convolved, "moved": moved, "rare": rare}


@pytest.mark.parametrize("name", BUILDERS)
def test_every_value_may_be_anything(tmp_path, name):
    head, description = parts(BUILDERS[name](tmp_path / "net.rknn"))
    ways = list(places(description))
    rng = np.random.default_rng(7)
    loaded, silent = 0, []
    for number in rng.choice(len(ways), 120, replace=False):
        way, odd = ways[number], ODD[rng.integers(len(ODD))]
        for made in (without(description, way), changed(description, way, odd)):
            path = write(tmp_path / "odd.rknn", head, made)
            try:
                npusim.load_model(path)
                loaded += 1
            except NpusimError as error:
                silent += [] if "odd.rknn" in str(error) else [(way, odd, str(error))]
    assert not silent
    assert 0 < loaded < 120


def test_nothing_is_allocated_for_sizes_that_no_chip_has(tmp_path):
    head, description = parts(convolved(tmp_path / "net.rknn"))
    for way in (("norm_tensor", 0, "size", 0), ("nodes", 0, "nn", "conv2d", "pad", 0)):
        path = write(tmp_path / "huge.rknn", head, changed(description, way, 10**9))
        with pytest.raises(NpusimError, match=r"elements of input|absurd shape"):
            npusim.load_model(path)


def test_endless_nesting_is_damage(tmp_path):
    path = tmp_path / "deep.rknn"
    text = b"[" * 200000
    path.write_bytes(
        b"RKNN" + bytes(4) + struct.pack("<QQ", 1, 0) + struct.pack("<Q", len(text)) + text
    )
    with pytest.raises(ContainerError, match="truncated or damaged"):
        npusim.load_model(path)


def test_layers_of_public_headers_compute_what_these_say(tmp_path):
    path = rare(tmp_path / "net.rknn")
    graph = npusim.load_model(path)
    assert sum("no file was seen with this operator" in note for note in graph.notes) == 7
    codes = np.random.default_rng(2).integers(0, 256, (1, 4, 3, 5), np.uint8)
    (found,) = npusim.compile(graph).run_stored({"input_0": codes}).values()
    x = codes.astype(np.float64)
    b = np.clip(x[:, ::-1, :, ::-1], 128, 228)
    s = np.where(x > b, b, x)
    r = np.stack([s, b]).reshape(8, 3, 5)[:, :1].transpose(1, 0, 2) - 128
    weights = np.arange(48).reshape(2, 8, 3) - 128.0
    padded = np.pad(r, ((0, 0), (0, 0), (1, 1)))
    rows = [np.tensordot(weights, padded[0, :, i : i + 3], 2) for i in (0, 2, 4)]
    wanted = np.clip(np.rint(np.stack(rows, -1) * 0.02) + 128, 0, 255)
    assert np.ptp(wanted) > 20
    np.testing.assert_allclose(found[0], wanted, atol=1)


OTHERS = (
    *("PROPOSAL", "ROI_POOL", "ROI_ALIGN", "UPSAMPLE", "REORG", "CROP", "LSTMUNIT", "RNN", "SVDF"),
    *("CONCATSHIFT", "SIGNAL_FRAME", "TOPK", "FLOORDIV", "A_TIMES_B_PLUS_C", "BATCH2SPACE", "NMS"),
    *("SPATIAL_TRANSFORMER", "IMAGEPROCESS", "GRU_OVXLIB", "LINEAR", "ONE_HOT", "MOMENTS", "SIN"),
    *("GROUP_NORM", "EMBEDDING_LOOKUP", "DEPTHWISE_CONV1D", "CONV3D", "PRE_PROCESS_RGB", "INTERP"),
    *("DETECTION_POSTPROCESS", "RESIZE_1D", "SCATTER_ND", "REPEAT", "SEQUENCE_MASK", "MINE"),
)


def test_every_layer_without_a_counterpart_is_named_at_once(tmp_path):
    file = File()
    x = file.input((1, 4), U8)
    for uid, op in enumerate(OTHERS):
        (x,) = file.layer(op, "z", uid, (x,), U8)
    file.output(x, (1, 4), U8)
    with pytest.raises(UnsupportedOpError, match=f"{len(OTHERS)} unsupported layers") as caught:
        npusim.load_model(file.save(tmp_path / "net.rknn"))
    for uid, op in enumerate(OTHERS):
        assert f"layer 'z_{uid}' ({op})" in str(caught.value)


@pytest.mark.parametrize(
    ("op", "nn", "vx", "says"),
    [
        ("POOL", {"ksize": [1, 1], "type": "VX_POOLING_L2"}, None, "its kind is VX_POOLING_L2"),
        ("SIGMOID", None, {"has_relu": 1}, "it holds a relu"),
        ("RELU_KERAS", {"max_value": 3.0, "alpha": 0.1}, None, "a slope or a threshold"),
        ("LOGICAL_OPS", {"op": "VSI_NN_LOGICAL_XOR"}, None, "it has 1 inputs"),
        ("UNSTACK", {"axis": 0}, None, "it makes 1 of"),
        ("EXPAND_BROADCAST", {"shape": [3, 4]}, None, "does not spread"),
    ],
)
def test_forms_that_are_not_known_are_refused(tmp_path, op, nn, vx, says):
    file = File()
    x = file.input((1, 4, 2, 2), U8)
    (a,) = file.layer(op, "a", 1, (x,), U8, nn=nn and {op.lower(): nn}, vx=vx)
    file.output(a, (1, 4, 2, 2), U8)
    with pytest.raises(NpusimError, match=says):
        npusim.load_model(file.save(tmp_path / "net.rknn"))

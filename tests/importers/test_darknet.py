"""Darknet networks: against recorded outputs of the real program and numbers measured on it."""

import re
import struct
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import npusim
from npusim.cli.app import app
from npusim.conformance.importer_cases import read_cases
from npusim.conformance.importers import replay_case
from npusim.errors import ModelImportError, UnsupportedOpError
from npusim.importers.darknet.importer import load_darknet
from npusim.reference.evaluate import evaluate
from npusim.rknn import RKNN

RECORDS = list(read_cases(Path(__file__).with_name("darknet_recorded.jsonl")))
FAST = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def net(*sections, channels=1, height=1, width=1):
    head = f"[net]\nchannels={channels}\nheight={height}\nwidth={width}\n"
    return head + "".join(
        f"[{kind}]\n" + "".join(f"{key}={value}\n" for key, value in options.items())
        for kind, options in sections
    )


def section(kind, **options):
    return kind, {key.rstrip("_"): value for key, value in options.items()}


def weights(numbers, *, major=0, minor=2, revision=0, seen=8):
    header = struct.pack("<iii", major, minor, revision) + b"\0" * seen
    return header + np.asarray(numbers, "<f4").tobytes()


def load(folder, text, content=None, **options):
    (folder / "net.cfg").write_text(text, encoding="utf-8")
    if content is None:
        return load_darknet(folder / "net.cfg", False, **options)
    (folder / "net.weights").write_bytes(content)
    return load_darknet(folder / "net.cfg", folder / "net.weights", **options)


def run(graph, x):
    value = np.asarray(x, np.float32).reshape(graph.spec("x").shape)
    results = evaluate(graph, {"x": value})
    return [results[name] for name in graph.outputs]


@pytest.mark.parametrize("case", RECORDS, ids=lambda case: case.label)
def test_recorded_networks(case):
    assert replay_case(case) == ("", "")


# ---- the two programs
CONV_BN = section("convolutional", batch_normalize=1, filters=1, size=1, activation="linear")


@pytest.mark.parametrize(
    ("program", "variance", "wanted"),
    [
        ("pjreddie", 0.0, 28000010.0),
        ("pjreddie", 1e-4, 2809.720),
        ("alexeyab", 0.0, 8864.378),
        ("alexeyab", 1e-4, 2679.695),
    ],
)
def test_epsilon_of_batch_normalize(tmp_path, program, variance, wanted):
    # biases, scales, means, variances, weights
    content = weights([10, 2, 1, variance, 1])
    graph = load(tmp_path, net(CONV_BN), content, program=program)
    np.testing.assert_allclose(run(graph, 15)[0].item(), wanted, 2e-6)


def test_a_note_says_whose_rules_count_when_the_files_do_not_tell(tmp_path):
    content = weights([0, 1, 0, 1, 1])
    assert any("do not tell" in note for note in load(tmp_path, net(CONV_BN), content).notes)
    fork = load(tmp_path, net(CONV_BN), weights([0, 1, 0, 1, 1], revision=5))
    assert fork.source.detail.startswith("alexeyab")
    assert not any("do not tell" in note for note in fork.notes)
    sign = net(CONV_BN, section("activation", activation="mish"))
    assert load(tmp_path, sign).source.detail.startswith("alexeyab")
    with pytest.raises(ModelImportError, match="'pjreddie' or 'alexeyab'"):
        load(tmp_path, sign, program="darknet")


def test_the_note_names_a_call_that_chooses_the_fork(tmp_path):
    content = weights([10, 2, 1, 4, 1])
    (note,) = [n for n in load(tmp_path, net(CONV_BN), content).notes if "do not tell" in n]
    module, name, program = re.search(
        r"(npusim\.\S+)\.(\w+)\(\.\., program='(\w+)'\)", note
    ).groups()
    read = getattr(import_module(module), name)
    chosen = read(tmp_path / "net.cfg", program=program)
    assert chosen.source.detail.startswith("alexeyab")
    assert not any("do not tell" in n for n in chosen.notes)


def test_biases_of_batchnorm_are_told_by_the_length_of_the_file(tmp_path):
    text = net(section("batchnorm"), channels=1)
    without = load(tmp_path, text, weights([2, 1, 4]))
    assert run(without, 5)[0].item() == pytest.approx(2 * 4 / 2, rel=1e-5)
    with_bias = load(tmp_path, text, weights([7, 2, 1, 4]))
    assert run(with_bias, 5)[0].item() == pytest.approx(2 * 4 / 2 + 7, rel=1e-5)


@pytest.mark.parametrize(
    ("major", "minor", "seen"),
    [
        (0, 1, 4),
        (0, 2, 8),
        *((major, minor, n) for major, minor in [(0, 1000), (0, 1001), (1001, 0)] for n in (4, 8)),
    ],
)
def test_headers(tmp_path, major, minor, seen):
    text = net(section("connected", output=2, activation="linear"), width=3)
    content = weights([1, 2, 10, 20, 30, 40, 50, 60], major=major, minor=minor, seen=seen)
    y = run(load(tmp_path, text, content), [1, 0, -1])[0].reshape(-1)
    rows = np.array([[10, 20, 30], [40, 50, 60]])
    if major > 1000 or minor > 1000:
        rows = np.array([10, 20, 30, 40, 50, 60]).reshape(3, 2).T
    assert y.tolist() == (rows @ [1, 0, -1] + [1, 2]).tolist()


# ---- numbers measured on the real programs
def test_normalization_is_one_channel_short(tmp_path):
    text = net(section("normalization", size=5, alpha=0.1, beta=0.75), channels=8)
    wanted = [0, 0.5946035, 0.7652496, 0.7729011, 0.7334265, 0.6871564, 0.8664047, 1.1136649]
    np.testing.assert_allclose(run(load(tmp_path, text), range(8))[0].reshape(-1), wanted, 1e-6)


@pytest.mark.parametrize(("normal", "wanted"), [("relu", 4.5999079), ("softmax", 3.4202228)])
def test_weighted_shortcuts(tmp_path, normal, wanted):
    plain = {"filters": 1, "size": 1, "activation": "linear"}
    text = net(
        section("convolutional", **plain),
        section("convolutional", **plain),
        section("shortcut", from_=-2, weights_type="per_feature", weights_normalization=normal),
    )
    # the first gives 1, the second 10
    graph = load(tmp_path, text, weights([1, 0, 10, 0, 2, 3]))
    np.testing.assert_allclose(run(graph, 0)[0].item(), wanted, 1e-6)


def test_hard_mish(tmp_path):
    text = net(section("activation", activation="hard_mish"), width=6)
    y = run(load(tmp_path, text), [-3, -1, -0.5, 0, 0.5, 1])[0].reshape(-1)
    assert y.tolist() == [0, -0.5, -0.375, 0, 0.5, 1]


def test_the_quirk_of_reorg(tmp_path):
    text = net(section("reorg", stride=2), channels=4, height=2, width=2)
    y = run(load(tmp_path, text), range(16))[0]
    assert y.shape == (1, 16, 1, 1)
    assert y.reshape(-1).tolist() == [0, 2, 8, 10, 1, 3, 9, 11, 4, 6, 12, 14, 5, 7, 13, 15]


def test_upsample_multiplies(tmp_path):
    text = net(section("upsample", stride=2, scale=3), width=2)
    assert run(load(tmp_path, text), [1, 2])[0].tolist() == [[[[3, 3, 6, 6], [3, 3, 6, 6]]]]


@FAST
@given(
    size=st.integers(1, 4),
    stride=st.integers(1, 3),
    height=st.integers(1, 8),
    width=st.integers(1, 8),
    padding=st.one_of(st.none(), st.integers(0, 4)),
)
def test_maxpool(tmp_path, size, stride, height, width, padding):
    total = size - 1 if padding is None else padding
    given_padding = {} if padding is None else {"padding": padding}
    text = net(
        section("maxpool", size=size, stride=stride, **given_padding), height=height, width=width
    )
    if total - total // 2 >= size or min(height, width) + total < size:
        with pytest.raises(ModelImportError, match="0_maxpool"):
            load(tmp_path, text)
        return
    x = np.arange(height * width, dtype=np.float32).reshape(height, width)[::-1, ::-1]
    y = run(load(tmp_path, text), x)[0][0, 0]
    before = total // 2
    shape = tuple((n + total - size) // stride + 1 for n in (height, width))
    assert y.shape == shape
    for i in range(shape[0]):
        for j in range(shape[1]):
            top, left = i * stride - before, j * stride - before
            part = x[max(top, 0) : max(top + size, 0), max(left, 0) : max(left + size, 0)]
            assert y[i, j] == part.max()


# ---- text
def test_how_a_configuration_is_read(tmp_path):
    text = (
        "# first\n[ network ]\r\nchannels = 1\r\nwidth=2\nheight=1\n"
        ";comment\n[activation]\nacti vation = rel u\nactivation=tanh\n"
    )
    assert run(load(tmp_path, text), [-1, 2])[0].reshape(-1).tolist() == [0, 2]


def test_an_unknown_activation_is_relu_with_a_note(tmp_path):
    graph = load(tmp_path, net(section("activation", activation="leaky # note")))
    assert run(graph, -1)[0].item() == 0
    assert any("'leaky#note' is not known" in note for note in graph.notes)


def test_a_misspelt_option_is_named(tmp_path):
    text = net(section("convolutional", filter=3, activation="linear"))
    assert any("has no 'filter'; did you mean 'filters'" in n for n in load(tmp_path, text).notes)


# ---- box layers
YOLO = {"mask": "0", "anchors": "10,14, 23,27", "classes": 2, "num": 2}


def test_the_network_ends_before_box_layers_and_keeps_the_anchors(tmp_path):
    text = net(
        section("convolutional", filters=7, size=1, activation="linear"),
        section("yolo", **YOLO),
        section("route", layers=-2),
        section("maxpool", size=2, stride=2),
    )
    graph = load(tmp_path, text)
    assert graph.outputs == ("0_convolutional", "3_maxpool")
    (note,) = (note for note in graph.notes if note.startswith("1_yolo"))
    assert "anchors=10,14,23,27" in note
    assert "mask=0" in note
    assert "classes=2" in note
    assert load(tmp_path, text, outputs=["1_yolo"]).outputs == ("0_convolutional",)


def test_wrong_number_of_filters_says_the_right_one(tmp_path):
    text = net(section("convolutional", filters=5, size=1), section("yolo", **YOLO))
    with pytest.raises(ModelImportError, match=r"line 8: layer '1_yolo'.*7 channels") as caught:
        load(tmp_path, text)
    assert "filters=7" in str(caught.value)


# ---- bad files
CONV = net(section("convolutional", filters=2, size=1, activation="linear"))


@pytest.mark.parametrize(
    ("count", "what"), [(3, "has 32 bytes.*36 are needed"), (5, "40 bytes.*needs 36"), (9, "56")]
)
def test_weights_of_another_length_say_both(tmp_path, count, what):
    with pytest.raises(ModelImportError, match=what):
        load(tmp_path, CONV, weights(range(count)))


@FAST
@given(cut=st.integers(0, 35))
def test_a_truncated_file_is_refused(tmp_path, cut):
    with pytest.raises(ModelImportError, match=r"net\.weights"):
        load(tmp_path, CONV, weights(range(4))[:cut])


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "begins with nothing"),
        ("[convolutional]\nsize=1\n", r"begins with \[convolutional\]"),
        ("[net]\nwidth=3\n[maxpool]\n", "channels, height and width"),
        ("[net]\nwidth\n", "line 2"),
        (net(section("convolutional", size="three")), "size is 'three'"),
        (net(section("convolutional", filters=0)), "filters is 0"),
        (net(section("convolutional", filters=3, groups=2)), "do not fit"),
        (net(section("route", layers=3)), "refers to layer 3"),
        (net(section("route", layers="")), "layers is missing"),
        (
            net(
                section("shortcut", activation="linear"),
            ),
            "from is missing",
        ),
        (net(section("reorg", stride=2), channels=3, height=2, width=2), "do not fit the stride"),
        (net(section("connected", output=10**9)), "absurd shape"),
        ("[net]\nwidth=1\nheight=1\nchannels=1\n", "no layers"),
        (
            net(section("yolo", classes=2, num=1), section("avgpool"), channels=7),
            "layer '1_avgpool'.*reads the boxes of layer '0_yolo'",
        ),
    ],
)
def test_bad_configurations_name_the_place(tmp_path, text, what):
    with pytest.raises(ModelImportError, match=what):
        load(tmp_path, text)


@FAST
@given(text=st.text("[]=,-1xnet\n#conv", max_size=60))
def test_any_text_is_read_or_refused(tmp_path, text):
    with pytest.raises(ModelImportError):
        load(tmp_path, "[net]\nwidth=1\nheight=1\nchannels=1\n[wonder]\n" + text)


def test_all_unsupported_layers_are_listed(tmp_path):
    text = net(section("lstm", output=2), section("wonder"), section("avgpool"))
    with pytest.raises(UnsupportedOpError, match=r"(?s)2 unsupported.*'0_lstm'.*'1_wonder'"):
        load(tmp_path, text)


def test_the_weights_beside_the_network(tmp_path):
    (tmp_path / "net.cfg").write_text(CONV)
    (tmp_path / "net.weights").write_bytes(weights([1, 2, 3, 4]))
    for name in ("net.cfg", "net.weights"):
        graph = npusim.load_model(tmp_path / name)
        assert run(graph, 2)[0].reshape(-1).tolist() == [7, 10]
    assert "weights: net.weights" in npusim.load_model(tmp_path / "net.cfg").notes[0]


def test_the_toolkits_flow(tmp_path):
    text = net(
        section("convolutional", filters=7, size=3, pad=1, activation="leaky"),
        section("yolo", **YOLO),
        channels=3,
        height=4,
        width=4,
    )
    (tmp_path / "net.cfg").write_text(text)
    numbers = np.random.default_rng(1).uniform(-1, 1, 7 + 7 * 27).astype(np.float32)
    (tmp_path / "net.weights").write_bytes(weights(numbers))
    image = np.random.default_rng(2).integers(0, 256, (4, 4, 3)).astype(np.uint8)
    rknn = RKNN()
    rknn.config(mean_values=[[0, 0, 0]], std_values=[[255, 255, 255]])
    paths = (str(tmp_path / "net.cfg"), str(tmp_path / "net.weights"))
    assert rknn.load_darknet(model=paths[0], weight=paths[1]) == 0
    assert rknn.build(do_quantization=False) == 0
    assert rknn.init_runtime() == 0
    (found,) = rknn.inference(inputs=[image])
    x = image.transpose(2, 0, 1)[None] / np.float32(255)  # channels stay as they are
    graph = npusim.load_model(paths[0], weights=paths[1])
    np.testing.assert_allclose(found, run(graph, x)[0], atol=1e-2)
    assert rknn.load_darknet(paths[0], str(tmp_path / "none.weights")) == -1


def test_the_command_line_names_the_weights_it_found(tmp_path):
    (tmp_path / "net.cfg").write_text(CONV)
    (tmp_path / "net.weights").write_bytes(weights([1, 2, 3, 4]))
    (tmp_path / "other.bin").write_bytes(weights([5, 6, 7, 8]))
    (tmp_path / "long.bin").write_bytes(weights(range(9)))

    def perf(*more):
        return CliRunner().invoke(app, ["perf", str(tmp_path / "net.cfg"), *more])

    assert "weights: net.weights, beside the network" in perf().stderr
    given = perf("--weights", str(tmp_path / "other.bin"))
    assert given.exit_code == 0
    assert "beside" not in given.stderr
    command = [sys.executable, "-m", "npusim", "info", tmp_path / "net.cfg"]
    command += ["--weights", tmp_path / "long.bin"]
    wrong = subprocess.run(command, capture_output=True, text=True)
    assert wrong.returncode == 2
    assert "has 56 bytes, the network needs 36" in wrong.stderr
    (tmp_path / "net.weights").unlink()
    assert "NO TRAINED WEIGHTS" in perf().stderr

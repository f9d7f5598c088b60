"""Values of types that no parameter has: a sentence that names the parameter, and no waiting."""

import os

import numpy as np
import pytest

from npusim.errors import ConfigError, ContainerError
from npusim.ir import archive
from npusim.rknn.platforms import parse_targets

ARRAY = np.zeros(3)


@pytest.mark.parametrize(
    ("call", "given"),
    [
        ("config", {"quantized_dtype": ARRAY}),
        ("config", {"model_pruning": ARRAY}),
        ("config", {"target_platform": 5}),
        ("config", {"target_platform": object()}),
        ("build", {"do_quantization": ARRAY}),
        ("export_rknn", {"export_path": "\0"}),
        ("export_rknn", {"export_path": "\ud800"}),
        ("load_rknn", {"path": "a\0b"}),
        ("load_rknn", {"path": "pipe"}),
        ("init_runtime", {"target": ARRAY}),
        ("eval_perf", {"html": "\0"}),
        ("eval_perf", {"loop_cnt": ARRAY}),
        ("accuracy_analysis", {"inputs": "list.txt", "output_dir": "\0"}),
        ("list_support_target_platform", {"rknn_model": "\0"}),
        ("fetch_rknn_model_config", {"model_path": "pipe"}),
    ],
    ids=lambda value: value if isinstance(value, str) else repr(next(iter(value.items())))[:30],
)
def test_odd_values_are_refused_by_name(call, given, new, work, capsys):
    os.mkfifo(work / "pipe")
    found = getattr(new(), call)(**given)
    said = capsys.readouterr().err
    assert found in (-1, None)
    assert "unexpected" not in said
    assert f"RKNN.{call}" in said


def test_arrays_of_flags_are_flags(new, identity):
    rknn = new()
    assert rknn.load_onnx(model=identity()) == 0
    assert rknn.build(do_quantization=False) == 0
    assert rknn.init_runtime() == 0
    picture = np.ones((2, 3, 3), np.uint8)
    assert rknn.inference(inputs=[picture], inputs_pass_through=np.array([0])) is not None


def test_a_stored_model_that_is_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "m.npusim")
    with pytest.raises(ContainerError, match="this is a pipe"):
        archive.load(tmp_path / "m.npusim")


def test_platforms_are_words():
    with pytest.raises(ConfigError, match="target_platform 5"):
        parse_targets(5)


class BytesPath:
    def __fspath__(self):
        return b"m.npusim"


@pytest.mark.parametrize(
    ("call", "given"),
    [
        ("config", {"mean_values": 10**400}),
        ("config", {"std_values": [[10**400]]}),
        ("config", {"mean_values": b"abc"}),
        ("config", {"channel_mean_value": [b"abc"]}),
        ("config", {"quantized_moving_alpha": 10**400}),
        ("load_rknn", {"path": BytesPath()}),
        ("build", {"dataset": BytesPath()}),
        ("build", {"do_quantization": False, "rknn_batch_size": 10**7}),
        ("build", {"do_quantization": False, "rknn_batch_size": 10**400}),
        ("export_rknn", {"export_path": "/"}),
        ("export_rknn", {"export_path": BytesPath()}),
        ("inference", {"inputs": [np.ones((2, 3, 3))], "inputs_pass_through": np.ones((1, 2, 2))}),
        (
            "inference",
            {"inputs": [np.ones((2, 3, 3))], "inputs_pass_through": [np.zeros(1, [("a", "f4")])]},
        ),
        ("accuracy_analysis", {"inputs": BytesPath()}),
        ("accuracy_analysis", {"inputs": "list.txt", "output_dir": BytesPath()}),
        ("eval_perf", {"html": BytesPath()}),
        ("eval_perf", {"html": "/"}),
        ("eval_perf", {"html": "none/page.html"}),
        ("accuracy_analysis", {"inputs": "none.txt", "output_dir": "none.txt"}),
    ],
    ids=lambda value: value if isinstance(value, str) else repr(next(iter(value.items())))[:30],
)
def test_what_no_parameter_holds_is_refused_before_it_is_used(
    call, given, new, identity, work, capsys
):
    rknn = new()
    assert rknn.load_onnx(model=identity()) == 0
    if call != "build":
        assert rknn.build(do_quantization=False) == 0
        assert rknn.init_runtime() == 0
    capsys.readouterr()
    (work / "none.txt").write_text("")
    found = getattr(rknn, call)(**given)
    said = capsys.readouterr().err
    assert found in (-1, None)
    assert f"E RKNN.{call}" in said
    assert "unexpected" not in said

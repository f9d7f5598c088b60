"""Recorded vectors through the bindings: the small part in tests/golden, and all of them if there.

The whole set is looked for in the folder named by the environment variable NPUSIM_GOLDEN, else in
``../shared/golden`` beside the checkout.
"""

import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from npusim.conformance import conform, replay
from npusim.conformance.__main__ import main
from npusim.conformance.allowances import ALLOWANCES, NOTHING, allowance
from npusim.conformance.compare import step_distance
from npusim.conformance.golden import read_golden
from npusim.conformance.mapping import case_graph
from npusim.conformance.replay import prepared
from npusim.errors import InputError
from npusim.ir.attrs import Activation

HERE = Path(__file__).resolve().parent
SMALL = HERE / "golden"
FULL = Path(os.environ.get("NPUSIM_GOLDEN", HERE.parents[1] / "shared" / "golden"))
SMALL_FILES = sorted(path.relative_to(SMALL).as_posix() for path in SMALL.rglob("*.npz"))
FULL_FILES = sorted(path.relative_to(FULL).as_posix() for path in FULL.rglob("*.npz"))


def assert_conforms(path: Path) -> None:
    results = replay(path)
    failed = [result for result in results if not result.ok]
    assert results
    assert not failed, "\n".join(map(str, failed))
    assert sum(result.elements for result in results) > 0


@pytest.mark.parametrize("file", SMALL_FILES)
def test_small_set(file):
    assert_conforms(SMALL / file)


@pytest.mark.slow
@pytest.mark.skipif(not FULL_FILES, reason="the whole set is not here (NPUSIM_GOLDEN)")
@pytest.mark.parametrize("file", FULL_FILES or ["none"])
def test_full_set(file):
    assert_conforms(FULL / file)


def test_small_set_is_what_the_manifest_says():
    manifest = json.loads((SMALL / "manifest.json").read_text())
    assert sorted(manifest["files"]) == SMALL_FILES
    for file, entry in manifest["files"].items():
        assert hashlib.sha256((SMALL / file).read_bytes()).hexdigest() == entry["sha256"]
        assert len(list(read_golden(SMALL / file))) == len(entry["cases"])
    size = sum((SMALL / file).stat().st_size for file in SMALL_FILES)
    assert size < 3_000_000


def rewrite(source: Path, target: Path, change) -> Path:
    """Copy a golden file; ``change(meta, arrays)`` edits it in between."""
    with np.load(source) as stored:
        arrays = {name: stored[name] for name in stored.files}
    meta = json.loads(str(arrays.pop("meta")))
    change(meta, arrays)
    np.savez(target, meta=np.array(json.dumps(meta)), **arrays)
    return target


def test_one_wrong_element_is_found(tmp_path):
    def flip(meta, arrays):
        arrays["0.y"].reshape(-1)[3] ^= 2

    path = rewrite(SMALL / "nn/fc_u8.npz", tmp_path / "wrong.npz", flip)
    (result,) = replay(path)
    assert (result.mismatches, result.max_diff, result.granted, result.ok) == (1, 2, 0, False)
    assert main([str(path)]) == 1


def test_a_case_that_cannot_run_is_an_error_not_a_gap(tmp_path, capsys):
    def rename(meta, arrays):
        meta[0]["ops"][0]["kind"] = "warp"

    path = rewrite(SMALL / "nn/fc_u8.npz", tmp_path / "odd.npz", rename)
    results = conform([path]).golden
    assert not conform([path]).ok
    assert sum(result.cases for result in results) == len(list(read_golden(path)))
    (message,) = [message for result in results for message in result.errors]
    assert "case 0" in message
    assert "operation 'warp' is not known" in message
    assert main([str(path)]) == 1
    assert "warp" in capsys.readouterr().out


def test_a_damaged_file_is_bad_input(tmp_path, capsys):
    path = tmp_path / "cut.npz"
    path.write_bytes((SMALL / "nn/fc_u8.npz").read_bytes()[:1000])
    with pytest.raises(InputError, match="golden vectors"):
        replay(path)
    assert main([str(path)]) == 2
    assert str(path) in capsys.readouterr().err
    with pytest.raises(InputError, match="no golden file"):
        conform([tmp_path / "missing"])


def test_pickles_are_refused(tmp_path):
    path = tmp_path / "pickle.npz"
    np.savez(path, meta=np.array({"a": 1}, dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="pickle"):
        replay(path)


def test_steps_of_float16_count_units_in_the_last_place():
    one = np.float16(1)
    above = np.nextafter(one, np.float16(2))
    tiny = np.float16(6e-8)
    actual = np.array([one, above, 0.0, -tiny, 65504], np.float16)
    expected = np.array([above, above, -0.0, tiny, np.inf], np.float16)
    np.testing.assert_array_equal(step_distance(actual, expected), [1, 0, 0, 2, 1])


def test_steps_of_integers_do_not_wrap():
    actual, expected = np.array([-32768, 7], np.int16), np.array([32767, 7], np.int16)
    np.testing.assert_array_equal(step_distance(actual, expected), [65535, 0])


def test_allowances_scale_with_the_elements_and_are_documented():
    assert allowance("conv2d", "u8") is NOTHING
    assert NOTHING.granted(10**9) == 0
    assert allowance("instance_norm", "f16").granted(27745) == 9  # 3 + 3 * sqrt(3)
    assert allowance("instance_norm", "f16").granted(0) == 0
    assert allowance("matmul transposed", "i16").granted(77) == 77
    documents = ("docs/arithmetic/", "docs/fidelity.md section")
    assert all(entry.source.startswith(documents) for entry in ALLOWANCES.values())


def test_absorbed_relu_becomes_the_activation_of_the_convolution():
    cases = list(read_golden(SMALL / "nn/fused_u8.npz"))
    graphs = {case.name: prepared(case) for case in cases}
    (conv,) = graphs["conv relu"].nodes
    assert conv.attrs.activation is Activation.RELU
    assert conv.outputs == graphs["conv relu"].outputs
    assert [node.op for node in graphs["conv relu6"].nodes] == ["conv2d", "relu6"]
    assert [node.op for node in graphs["conv relu max2"].nodes] == ["conv2d", "pool2d"]


def test_a_recorded_shape_that_the_operator_does_not_give_is_refused():
    case = next(read_golden(SMALL / "nn/fc_u8.npz"))
    tensors = {name: dict(record) for name, record in case.tensors.items()}
    tensors["y"]["shape"] = [1, 3]
    with pytest.raises(InputError, match="recorded is"):
        case_graph(replace(case, tensors=tensors))

"""What a call costs beside the chip: against published times, and by the parts of the sum."""

import pytest

from npusim.errors import MachineError
from npusim.perfmodel.estimate import at_clock, estimate
from npusim.perfmodel.layer_list import parse_layer_list
from npusim.perfmodel.machine import CONFIDENCES
from npusim.perfmodel.transport import transfer, transport_names
from tests.perfmodel.test_properties import network


def ends(name, size, outputs):
    """Return an estimate of a network with the inputs and outputs of one that is named."""
    layers = [
        {"name": f"head{i}", "op": "conv", "inputs": ["data"], "channels": c, "stride": size // h}
        for i, (c, h) in enumerate(outputs)
    ]
    heads = [layer["name"] for layer in layers]
    data = {"name": name, "input": [1, 3, size, size], "outputs": heads, "layers": layers}
    return estimate(parse_layer_list(data))


CLASSIFIER = ("classifier", 224, ((1000, 1),))
YOLO_416 = ("yolov3", 416, ((255, 13), (255, 26), (255, 52)))
YOLOX_640 = ("yolox", 640, ((85, 20), (85, 40), (85, 80)))


def beside_ms(network, transport, **how):
    return transfer(ends(*network), transport, **how).beside_us / 1e3


def test_a_call_over_adb_takes_what_the_faq_says():
    # "Theoretical" against measured, ms: 1.79/21.37, 8.23/39.82, 7.485/33.12, 30.55/76.13. The
    # networks are not named; the least and the most are what usual ones bring.
    pairs = ((1.79, 21.37), (8.23, 39.82), (7.485, 33.12), (30.55, 76.13))
    published = sorted(usb - npu for npu, usb in pairs)
    assert beside_ms(CLASSIFIER, "adb") == pytest.approx(published[0], rel=0.15)
    assert beside_ms(YOLO_416, "adb") == pytest.approx(published[-1], rel=0.15)


def test_inputs_and_outputs_in_python_on_a_board_take_what_is_published():
    assert 12 <= beside_ms(YOLO_416, "onboard") <= 22


def test_yolox_in_python_on_an_rk3399pro_takes_what_is_published():
    # 57 ms; the NPU alone runs it at 23.0 frames a second (rknn_model_zoo 2.3.2, RK1808)
    assert 1000 / 23.0 + beside_ms(YOLOX_640, "usb") == pytest.approx(57, rel=0.15)


@pytest.mark.parametrize("name", transport_names())
def test_bytes_are_those_of_the_api(name):
    result = ends(*CLASSIFIER)
    found, real = (transfer(result, name, input_type=kind) for kind in ("u8", "f32"))
    assert found.input_bytes * 4 == real.input_bytes == 3 * 224 * 224 * 4
    assert found.output_bytes == real.output_bytes == 4000
    assert found.host_us == real.host_us > 0
    assert found.npu_us == result.total_time_us
    assert found.whole_us == pytest.approx(
        found.npu_us + found.link_us + found.host_us + found.call_us
    )
    assert (found.link_us > 0) == (name != "onboard")
    for rate in found.to_dict()["rates"].values():
        assert rate["confidence"] in CONFIDENCES
        assert rate["source"]


def test_words_that_do_not_exist_are_named():
    result = ends(*CLASSIFIER)
    with pytest.raises(MachineError, match="onboard, usb, ntb, adb"):
        transfer(result, "wifi")
    with pytest.raises(MachineError, match="u8, f32"):
        transfer(result, "adb", input_type="i8")


# Milliseconds at 934 MHz (RV1126) and 594 MHz (RV1109), one die; rknn_model_zoo 2.3.2.
TWO_CLOCKS = ((3.103, 4.697), (27.624, 40.984), (34.247, 49.505), (18.797, 27.548), (50.0, 73.529))


@pytest.mark.parametrize("machine", ["rv1126", "rk1808"])
@pytest.mark.parametrize(
    "shape", [(64, 64, 56, 56, 3), (128, 256, 40, 40, 1), (512, 512, 14, 14, 3)]
)
def test_another_clock_makes_engines_slower_and_not_the_memory(machine, shape):
    ratios = [slow / fast for fast, slow in TWO_CLOCKS]
    fast = estimate(network(*shape, depth=4), machine, clock_mhz=934)
    ratio = at_clock(fast, 594).total_time_us / fast.total_time_us
    assert 0.9 * min(ratios) < ratio < 934 / 594 + 1e-9  # equal where no layer waits for memory
    assert at_clock(fast, 934) == fast

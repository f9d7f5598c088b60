"""Exact layout of eval_memory."""

from npusim.perfmodel.memory import MemoryUse
from npusim.report.eval_memory import memory_result, memory_text

USE = MemoryUse(
    weight_bytes=5 << 20,
    stored_weight_bytes=4 << 20,
    activation_bytes=9 << 20,
    activation_live_bytes=2 << 20,
    activation_peak_bytes=3 << 20,
    peak_layer="c",
    input_bytes=1 << 19,
    output_bytes=1 << 18,
)


def test_dictionary_in_bytes():
    assert memory_result(USE) == {
        "system_memory": {"maximum_allocation": 786432, "total_allocation": 786432},
        "npu_memory": {"maximum_allocation": 7 << 20, "total_allocation": 13 << 20},
        "total_memory": {
            "maximum_allocation": (7 << 20) + 786432,
            "total_allocation": (13 << 20) + 786432,
        },
    }


def test_printed_layout():
    assert memory_text(USE, 4299162).splitlines() == [
        "==============================================",
        "            Memory Profile Info Dump",
        "==============================================",
        "System memory:",
        "    maximum allocation : 0.75 MiB",
        "    total allocation   : 0.75 MiB",
        "NPU memory:",
        "    maximum allocation : 7.00 MiB",
        "    total allocation   : 13.00 MiB",
        "Total memory:",
        "    maximum allocation : 7.75 MiB",
        "    total allocation   : 13.75 MiB",
        "INFO: When evaluating memory usage, add the size of",
        "the model itself, current model size is: 4.10 MiB",
        "==============================================",
    ]

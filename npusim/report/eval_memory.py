"""eval_memory as RKNN-Toolkit 1.x prints and returns it."""

from npusim.perfmodel.memory import MemoryUse

TITLES = (
    ("System memory", "system_memory"),
    ("NPU memory", "npu_memory"),
    ("Total memory", "total_memory"),
)


def memory_result(use: MemoryUse) -> dict[str, dict[str, int]]:
    """Return eval_memory's dictionary, in bytes.

    System memory: the host's input and output buffers. NPU memory: weights as stored and
    activations; ``maximum_allocation`` has the activations in planned buffers that share memory,
    ``total_allocation`` each in a buffer of its own.
    """
    host = use.input_bytes + use.output_bytes
    system = {"maximum_allocation": host, "total_allocation": host}
    npu = {
        "maximum_allocation": use.npu_bytes,
        "total_allocation": use.stored_weight_bytes + use.activation_bytes,
    }
    both = {key: system[key] + npu[key] for key in system}
    return {"system_memory": system, "npu_memory": npu, "total_memory": both}


def memory_text(use: MemoryUse, model_bytes: int) -> str:
    """Return eval_memory's printed layout.

    Parameters
    ----------
    use : MemoryUse
    model_bytes : int
        Size of the model as a file, which the host holds besides.
    """
    rule = "=" * 46
    lines = [rule, "            Memory Profile Info Dump", rule]
    result = memory_result(use)
    for title, key in TITLES:
        lines.append(f"{title}:")
        for name, value in result[key].items():
            lines.append(f"    {name.replace('_', ' '):<18} : {mebi(value)}")
    lines += [
        "INFO: When evaluating memory usage, add the size of",
        f"the model itself, current model size is: {mebi(model_bytes)}",
        rule,
    ]
    return "\n".join(lines)


def mebi(size_bytes: float) -> str:
    """Return bytes in the toolkit's unit."""
    return f"{size_bytes / 1048576:.2f} MiB"

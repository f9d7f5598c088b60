"""Measure a board with the vendor's toolkit, for ``npusim perf --calibrate``.

    python tools/board_recipe.py prepare FOLDER
    python tools/board_recipe.py measure FOLDER --target rk1808 --clock-mhz 792 [--device-id ID]
    npusim perf MODEL --calibrate FOLDER/times.csv --write-machine mine.toml

The first command writes small networks as layer lists and ONNX files; it needs this repository and
the package onnx. The second runs where RKNN-Toolkit 1.x is and the board is connected (Python 3.5
and later); copy this file and the folder there. It builds every network in 8 bits, asks the board
for the time of a run (``eval_perf`` without ``perf_debug``, which would add to every layer), takes
the median of several, and writes FOLDER/times.csv with the networks' paths as they are.

The clock is the NPU's during the measurement, in MHz: on boards
``cat /sys/class/devfreq/*.npu/cur_freq``.
"""

import argparse
import csv
import json
import os
import sys

COLUMNS = ("network", "target", "dtype", "clock_mhz", "ms", "trust", "source")
RUNS = 5


def prepare(folder):
    """Write FOLDER/networks: a layer list and an ONNX file of every probe."""
    import onnx
    from board_probes import PROBES

    lists = os.path.join(folder, "networks")
    os.makedirs(lists, exist_ok=True)
    for make in PROBES:
        block = make()
        path = os.path.join(lists, block["name"])
        with open(path + ".json", "w") as file:
            json.dump(block, file, indent=1)
        onnx.save(onnx_of(block), path + ".onnx")
        print(f"wrote {path}.json and {path}.onnx")


def onnx_of(block):
    """Return the ONNX model of a layer list of a probe, with random weights."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.RandomState(1)
    nodes, constants = [], []
    channels = {"data": block["input"][1]}
    shapes = {"relu": "Relu", "sigmoid": "Sigmoid"}

    def constant(name, values):
        constants.append(numpy_helper.from_array(values, name))
        return name

    def activated(name, result, act):
        if act == "silu":
            nodes.append(helper.make_node("Sigmoid", [name], [name + ".gate"]))
            nodes.append(helper.make_node("Mul", [name, name + ".gate"], [result]))
        else:
            nodes.append(helper.make_node(shapes[act], [name], [result]))

    for layer in block["layers"]:
        name, op, ins = layer["name"], layer["op"], layer["inputs"]
        act = layer.get("act")
        made = name + ".linear" if act else name
        if op == "conv":
            k, out = layer["kernel"], layer["channels"]
            scale = (2.0 / (channels[ins[0]] * k * k)) ** 0.5
            weights = rng.randn(out, channels[ins[0]], k, k).astype(np.float32) * np.float32(scale)
            inputs = [
                ins[0],
                constant(name + ".weight", weights),
                constant(name + ".bias", rng.randn(out).astype(np.float32)),
            ]
            nodes.append(
                helper.make_node(
                    "Conv",
                    inputs,
                    [made],
                    kernel_shape=[k, k],
                    strides=[layer["stride"]] * 2,
                    pads=layer["pad"],
                )
            )
            channels[name] = out
        elif op == "slice":
            bounds = {"axes": [layer["axis"]], "starts": [layer["start"]], "ends": [layer["stop"]]}
            nodes.append(helper.make_node("Slice", ins, [made], **bounds))
            channels[name] = layer["stop"] - layer["start"]
        elif op == "add":
            nodes.append(helper.make_node("Add", ins, [made]))
            channels[name] = channels[ins[0]]
        else:
            raise ValueError(f"layer {name}: {op} is no operator of a probe")
        if act:
            activated(made, name, act)
    result = block["outputs"][0]
    graph = helper.make_graph(
        nodes,
        block["name"],
        [helper.make_tensor_value_info("data", TensorProto.FLOAT, block["input"])],
        [helper.make_tensor_value_info(result, TensorProto.FLOAT, None)],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 9)])
    model.ir_version = 6
    return model


def measure(folder, target, clock_mhz, device_id, runs):
    """Write FOLDER/times.csv: the median time of every network on a board."""
    names = sorted(
        file[: -len(".onnx")]
        for file in os.listdir(os.path.join(folder, "networks"))
        if file.endswith(".onnx")
    )
    if not names:
        sys.exit(f"{folder}/networks: has no .onnx files; run prepare first")
    rows = []
    for name in names:
        times = sorted(_times_ms(folder, name, target, device_id, runs))
        rows.append((name, times[len(times) // 2]))
        print(f"{name}: {rows[-1][1]:.3f} ms, {times[0]:.3f} to {times[-1]:.3f}")
    with open(os.path.join(folder, "times.csv"), "w") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(COLUMNS)
        for name, time_ms in rows:
            source = f"eval_perf, median of {runs}"
            path = f"networks/{name}.json"
            row = [path, target, "u8", clock_mhz, f"{time_ms:.4f}", "high", source]
            table.writerow(row)
    print("wrote {}".format(os.path.join(folder, "times.csv")))


def _times_ms(folder, name, target, device_id, runs):
    """Return the board's times of a network."""
    import numpy as np
    from rknn.api import RKNN

    path = os.path.join(folder, "networks", name)
    with open(path + ".json") as file:
        shape = json.load(file)["input"]
    image = np.random.RandomState(0).randint(0, 256, shape[2:] + shape[1:2]).astype(np.uint8)
    np.save(path + ".npy", image)
    with open(path + ".txt", "w") as file:
        file.write(os.path.abspath(path + ".npy") + "\n")
    rknn = RKNN()
    try:
        rknn.config(mean_values=[[0, 0, 0]], std_values=[[255, 255, 255]], target_platform=[target])
        _worked(rknn.load_onnx(model=path + ".onnx"), name, "load_onnx")
        _worked(rknn.build(do_quantization=True, dataset=path + ".txt"), name, "build")
        _worked(rknn.init_runtime(target=target, device_id=device_id), name, "init_runtime")
        found = []
        for _ in range(runs):
            result = rknn.eval_perf(inputs=[image], is_print=False)
            if not isinstance(result, dict) or not result.get("total_time"):
                sys.exit(f"{name}: eval_perf gave {result!r}; a total_time is needed")
            found.append(float(result["total_time"]) / 1e3)  # microseconds
        return found
    finally:
        rknn.release()


def _worked(code, name, step):
    if code != 0:
        sys.exit(f"{name}: {step} failed with {code}; the toolkit's log says why")


def main():
    """Prepare or measure."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    steps = parser.add_subparsers(dest="step")
    steps.required = True
    steps.add_parser("prepare").add_argument("folder")
    second = steps.add_parser("measure")
    second.add_argument("folder")
    second.add_argument("--target", required=True, help="rk1808, rk3399pro, rv1109, rv1126")
    second.add_argument("--clock-mhz", required=True, type=float)
    second.add_argument("--device-id")
    second.add_argument("--runs", type=int, default=RUNS)
    options = parser.parse_args()
    if options.step == "prepare":
        prepare(options.folder)
    else:
        measure(options.folder, options.target, options.clock_mhz, options.device_id, options.runs)


if __name__ == "__main__":
    main()

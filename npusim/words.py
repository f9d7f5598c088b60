"""What the reader calls a parameter: each front end has its own words for the same thing.

The layers below the front ends know parameters by a neutral key; ``say`` and its relatives give the
words of the front end whose call is running. A front end sets itself with ``speaking`` at its edge;
where none did, the typed Python functions were called. tests/test_words.py finds texts that name a
parameter in any other way.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from enum import Enum
from typing import NamedTuple


class FrontEnd(Enum):
    """Who reads a message."""

    PYTHON = "npusim's Python functions"
    CLI = "the command line"
    RKNN = "the RKNN class"

    @property
    def takes_all_shapes(self) -> bool:
        """Tell whether shapes are given for all inputs in order, without the batch."""
        return self is FrontEnd.RKNN


class Words(NamedTuple):
    """One parameter or piece of advice in the words of each front end; values in braces."""

    python: str
    cli: str
    rknn: str


WORDS = {
    # parameters by name
    "input_shapes": Words("input_shapes", "--shape", "input_size_list"),
    "inputs": Words("inputs", "--cut-inputs", "inputs"),
    "outputs": Words("outputs", "--cut-outputs", "outputs"),
    "dataset": Words("dataset", "--dataset", "dataset"),
    "layers": Words("layers", "--layers", "customized_quantize_layers"),
    "relu6": Words("relu6", "--equalize or --relu6", "relu6"),
    "scheme": Words("scheme", "--quantize", "quantized_dtype"),
    "algorithm": Words("algorithm", "--algorithm", "quantized_algorithm"),
    "toolkit_name": Words("toolkit", "--toolkit", "toolkit"),
    "no_join_name": Words("no_join", "--no-join", "no_join"),
    "to": Words("to", "--to", "to"),
    "task": Words("task", "--task", "task"),
    "decoder": Words("decoder", "--decoder", "decoder"),
    "anchors": Words("anchors", "--anchors", "anchors"),
    "priors": Words("priors", "--priors", "priors"),
    "images": Words("images", "--images", "images"),
    "budget_us": Words("budget_us", "--budget-us", "budget_us"),
    "jobs": Words("jobs", "--jobs", "jobs"),
    "labels": Words("labels", "--labels", "labels"),
    "label_offset": Words("label_offset=1", "--label-offset 1", "label_offset=1"),
    "scheduler": Words("scheduler {value}", "--scheduler {value}", "scheduler {value}"),
    "state": Words("state", "--state", "state"),
    "restart": Words("restart=True", "--restart", "restart=True"),
    "batch": Words("batch", "--batch", "rknn_batch_size"),
    "all_layers": Words("in its layers", "shown with --all", "in the written tables"),
    "all_refused": Words(
        "see Sweep.refused", "listed by --json", "listed in full by npusim's own commands"
    ),
    "json_and_csv": Words("the estimate's layers", "--json and --csv", "export_perf_statistics"),
    "batch_rule": Words(
        "; the batch may be left out", "; the batch may be left out", ", without the batch"
    ),
    # parameters with a value
    "toolkit": Words("toolkit={value!r}", "--toolkit {value}", "config(toolkit={value!r})"),
    "no_join": Words("no_join=[{value!r}]", "--no-join {value}", "config(no_join=[{value!r}])"),
    "take_codes": Words(
        "Program.run_codes", "npusim run --codes", "inference(inputs_pass_through=[1])"
    ),
    "take_reals": Words("Program.run", "npusim run without --codes", "inference"),
    "driver_faults": Words("driver_faults", "--driver-faults", "driver_faults"),
    "avoid_driver_faults": Words(
        "avoid_driver_faults", "--avoid-driver-faults", "avoid_driver_faults"
    ),
    "avoid_faults": Words(
        "avoid_driver_faults=True", "--avoid-driver-faults", "config(avoid_driver_faults=True)"
    ),
    "own_engine": Words(
        "engine='npusim', or NPUSIM_ENGINE=npusim in the environment",
        "--engine npusim (npusim quantize), or NPUSIM_ENGINE=npusim in the environment",
        "NPUSIM_ENGINE=npusim in the environment",
    ),
    "own_reference": Words(
        "give reference='npusim'", "give --reference npusim", "set NPUSIM_ENGINE=npusim"
    ),
    "batch_is": Words("batch {value}", "batch {value}", "rknn_batch_size {value}"),
    "one_image": Words(
        "a graph of batch 1", "a model of batch 1", "build(.., rknn_batch_size=1)"
    ),
    # how things are done
    "caffe_files": Words(
        "load_model(model, weights=..)", "MODEL --weights FILE", "load_caffe(model=.., blobs=..)"
    ),
    "darknet_files": Words(
        "load_model(model, weights=..)", "MODEL --weights FILE", "load_darknet(model=.., weight=..)"
    ),
    "without_dataset": Words(
        "npusim.float16(graph), which needs none",
        "--quantize f16, which needs none",
        "build(do_quantization=False)",
    ),
    "keep_parameters": Words(
        "npusim.float16(graph)", "leave --quantize out", "build(do_quantization=False)"
    ),
    "quantize_here": Words(
        "npusim.quantize(graph, dataset)",
        "--quantize u8 --dataset LIST",
        "build(do_quantization=True, dataset=..)",
    ),
    "quantize_first": Words(
        "npusim.quantize(graph, dataset), or npusim.float16(graph) without calibration",
        "--quantize u8 --dataset LIST, or --quantize f16",
        "build",
    ),
    "raise_layer": Words(
        "quantize(.., layers={{{name!r}: {word!r}}})",
        "--layer '{name}={word}'",
        "'{name}: {wide}' in customized_quantize_layers of the cfg file (hybrid quantization)",
    ),
    "raise_layers": Words(
        "layers={{name: 'i16'}}",
        "npusim quantize --layer NAME=i16",
        "hybrid_quantization_step1 and step2",
    ),
    "range_in_cfg": Words(
        "write_cfg='x.cfg', then cfg='x.cfg'",
        "npusim quantize --write-cfg x.cfg, then --hybrid x.cfg",
        "hybrid_quantization_step1 and step2",
    ),
    "write_cfg": Words(
        "npusim.quantize(.., write_cfg=..)",
        "npusim quantize --write-cfg",
        "hybrid_quantization_step1",
    ),
    "load_onnx": Words("load the .onnx file", "give the .onnx file", "call load_onnx"),
    "other_format": Words("name it {suffix}", "name it {suffix}", "call {call}"),
    "stores": Words("npusim.save", "npusim quantize", "export_rknn"),
    "from_source": Words(
        "load the source model and quantize it",
        "give the source model; npusim quantize stores it",
        "load the source model (load_onnx, ..) and build it",
    ),
    "other_layout": Words(
        "transpose it to {shape}",
        "transpose it to {shape}",
        "transpose it to {shape}, or say data_format='{layout}' in inference",
    ),
    "mean_and_std": Words(
        "mean and std of load_model", "--mean and --std", "mean_values and std_values"
    ),
    "trust": Words("give trust=True", "give --trust", "set NPUSIM_TRUST=1 in the environment"),
    "channel_order": Words("reorder of load_model", "--reorder", "reorder_channel"),
    # how sections of a report page are had
    "report_causes": Words(
        "npusim.report(graph, dataset), of the float source",
        "npusim report MODEL --dataset LIST, of the float source",
        "accuracy_analysis(.., html=..)",
    ),
    "report_time": Words("npusim.report(graph)", "npusim report MODEL", "eval_perf(html=..)"),
    "report_outputs": Words(
        "npusim.report(graph, dataset, files=..)",
        "npusim report MODEL --dataset LIST --input FILE",
        "accuracy_analysis(.., html=..)",
    ),
    "report_metrics": Words(
        "npusim.report(.., labelled=..)",
        "npusim report .. --labelled DIR, with one folder for each class",
        "the command npusim report, which takes a labelled set",
    ),
    "report_vs": Words(
        "npusim.report(.., vs=graph)",
        "npusim report .. --vs MODEL2: a stored model of the same network, or another model",
        "the command npusim report, which shows a second model beside",
    ),
    "report_tuning": Words(
        "the command npusim tune, which writes a page",
        "npusim tune MODEL --dataset LIST --html FILE",
        "the command npusim tune, which writes a page",
    ),
    # tensors to begin and end at
    "cut_outputs": Words("outputs={names!r}", "--cut-outputs {listed}", "outputs={names!r}"),
    "cut_inputs": Words("inputs={names!r}", "--cut-inputs {listed}", "inputs={names!r}"),
    "cut_both": Words(
        "inputs=.. and outputs=..",
        "--cut-inputs .. and --cut-outputs ..",
        "inputs=.. and outputs=..",
    ),
}  # fmt: skip

_current: ContextVar[FrontEnd] = ContextVar("npusim_front_end", default=FrontEnd.PYTHON)
_renamed: ContextVar[Mapping[str, str]] = ContextVar("npusim_renamed")


def front_end() -> FrontEnd:
    """Return the front end whose call is running in this thread."""
    return _current.get()


@contextmanager
def speaking(to: FrontEnd, **renamed: str) -> Iterator[None]:
    """Use the words of a front end while a call of it runs.

    Parameters
    ----------
    to : FrontEnd
    renamed : str
        Key of ``WORDS`` -> what this call names otherwise: an option of one command.
    """
    tokens = _current.set(to), _renamed.set(renamed)
    try:
        yield
    finally:
        _current.reset(tokens[0])
        _renamed.reset(tokens[1])


def settle(to: FrontEnd) -> None:
    """Use the words of a front end from now on: in a process that works for one."""
    _current.set(to)


def say(key: str, **values: object) -> str:
    """Return the running front end's words for a key of ``WORDS``, with values filled in."""
    renamed = _renamed.get({})
    if key in renamed:
        return renamed[key]
    chosen: str = getattr(WORDS[key], front_end().name.lower())
    return chosen.format(**values)


def cut_at(*, outputs: Sequence[str] = (), inputs: Sequence[str] = ()) -> str:
    """Return how a model is ended (or begun) at tensors, by their names."""
    side = "outputs" if outputs else "inputs"
    names = list(outputs or inputs)
    return say(f"cut_{side}", names=names, listed=",".join(names))


def shape_text(shape: Sequence[object]) -> str:
    """Return the shape of an input, with batch, as the reader writes it; unknown sizes are ``?``.

    The RKNN class takes sizes without the batch.
    """
    sizes = [str(size) if size not in (None, "") else "?" for size in shape]
    if front_end().takes_all_shapes:
        return f"[{', '.join(sizes[1:])}]"
    if front_end() is FrontEnd.CLI:
        return ",".join(sizes)
    return f"({', '.join(sizes)}{',' if len(sizes) == 1 else ''})"


def sizes(count: int) -> str:
    """Return how many sizes a shape with batch has, as the reader counts."""
    count -= front_end().takes_all_shapes
    return f"{count} size" + ("s" if count != 1 else "")


def one_shape(name: str, shape: Sequence[object]) -> str:
    """Return how the shape of one of the inputs is given, with batch."""
    if front_end().takes_all_shapes:
        return f"{shape_text(shape)} for it in input_size_list"
    return shapes_given({name: shape})


def shapes_given(shapes: Mapping[str, Sequence[object]]) -> str:
    """Return how shapes of inputs are given: all inputs of the model, in order, with batch."""
    if front_end().takes_all_shapes:
        return f"input_size_list=[{', '.join(map(shape_text, shapes.values()))}]"
    if front_end() is FrontEnd.CLI:
        return " ".join(f"--shape {name}={shape_text(shape)}" for name, shape in shapes.items())
    listed = ", ".join(f"{name!r}: {shape_text(shape)}" for name, shape in shapes.items())
    return f"input_shapes={{{listed}}}"

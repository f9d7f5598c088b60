"""Messages name parameters in the words of the front end whose call runs, and in no others."""

import ast
import re
import string
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

import npusim
from npusim import words
from npusim.errors import NpusimError
from npusim.rknn import RKNN
from npusim.words import FrontEnd

ROOT = Path(__file__).resolve().parent.parent
# What belongs to one front end. RKNN parameters that others share (outputs=, dataset) are not here.
OPTION = r"(?<![\w-])--[a-z][a-z-]+"
TYPED = r"input_shapes|npusim\.(load_model|quantize|float16)\b|write_cfg="
CLASS = (
    r"input_size_list|do_quantization|hybrid_quantization_step|rknn_batch_size|export_rknn|"
    r"\bbuild\(|\bconfig\(|(?<!importer\.)\bload_(onnx|caffe|darknet|tflite|pytorch|rknn)\b|data_format="
)
FOREIGN = {
    FrontEnd.PYTHON: re.compile(f"{OPTION}|{CLASS}"),
    # what the command line cannot do, it says in Python
    FrontEnd.CLI: re.compile(f"input_shapes|write_cfg=|{CLASS}"),
    FrontEnd.RKNN: re.compile(f"{OPTION}|{TYPED}"),
}
ANY = re.compile(f"{OPTION}|{TYPED}|{CLASS}|(in|out)puts=[^=]")
# Of these files only one front end makes or shows the texts.
OF_ONE = {
    "npusim/quantization/hybrid/files.py": "json and data files, which only the RKNN class has",
    "npusim/environment.py": "a table of variables, each says whom it concerns",
    "npusim/words.py": "the table itself",
    "npusim/edge.py": "the edge of the command line",
    "npusim/api/arguments.py": "the typed functions' own texts; other front ends check before",
    "npusim/clients/install.py": "what npusim exec does, and nothing else calls",
    "npusim/conformance/__main__.py": "a program of its own with its own options",
}


def texts(path):
    """Yield (line, text) of every string that is neither documentation nor a name on its own."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    alone = {id(n.value) for n in ast.walk(tree) if isinstance(n, ast.Expr)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Constant) or id(node) in alone:
            continue
        if isinstance(node.value, str) and not re.fullmatch(r"[\w.:]+", node.value):
            yield node.lineno, node.value


def below_the_front_ends():
    for path in sorted((ROOT / "npusim").rglob("*.py")):
        name = str(path.relative_to(ROOT))
        if name.split("/")[1] not in ("cli", "rknn") and name not in OF_ONE:
            yield path


def test_layers_below_the_front_ends_name_parameters_through_the_table():
    found = [
        f"{path.relative_to(ROOT)}:{line}: {text!r}"
        for path in below_the_front_ends()
        for line, text in texts(path)
        # the converter that TensorFlow users run has options of its own
        if ANY.search(text) and "tf2onnx.convert --graphdef" not in text
    ]
    assert not found, "say these through npusim.words:\n" + "\n".join(found)


@pytest.mark.parametrize(
    ("folder", "reader"), [("cli", FrontEnd.CLI), ("rknn", FrontEnd.RKNN)], ids=lambda x: str(x)
)
def test_a_front_end_does_not_speak_for_another(folder, reader):
    found = [
        f"{path.name}:{line}: {text!r}"
        for path in sorted((ROOT / "npusim" / folder).rglob("*.py"))
        for line, text in texts(path)
        if FOREIGN[reader].search(text)
    ]
    assert not found


VALUES = {
    "value": "1.7", "suffix": ".onnx", "call": "load_onnx", "shape": (1, 2), "layout": "nchw",
    "names": ["a"], "listed": "a", "name": "Conv_1", "word": "i16", "wide": "i16",
}  # fmt: skip


@pytest.mark.parametrize("reader", FrontEnd)
@pytest.mark.parametrize("key", words.WORDS)
def test_every_entry_speaks_to_its_reader(key, reader):
    with words.speaking(reader):
        text = words.say(key, **VALUES)
    assert text
    assert not FOREIGN[reader].search(text)
    named = [string.Formatter().parse(text) for text in words.WORDS[key]]
    assert all(name in (None, *VALUES) for row in named for _, name, _, _ in row)


@pytest.mark.parametrize("reader", FrontEnd)
def test_shapes_are_written_as_the_reader_gives_them(reader):
    with words.speaking(reader):
        said = words.shapes_given({"a": (1, 3, 4, 5), "b": (1, 7)}), words.shape_text((2, 3))
    assert (
        said
        == {
            FrontEnd.PYTHON: ("input_shapes={'a': (1, 3, 4, 5), 'b': (1, 7)}", "(2, 3)"),
            FrontEnd.CLI: ("--shape a=1,3,4,5 --shape b=1,7", "2,3"),
            FrontEnd.RKNN: ("input_size_list=[[3, 4, 5], [7]]", "[3]"),
        }[reader]
    )


def test_the_words_are_those_of_the_running_call_only():
    with words.speaking(FrontEnd.CLI, dataset="--calibration"):
        assert words.say("dataset") == "--calibration"
        with words.speaking(FrontEnd.RKNN):
            assert words.say("input_shapes") == "input_size_list"
        assert words.say("input_shapes") == "--shape"
    assert words.say("dataset") == "dataset"


@pytest.fixture
def work(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def store(path, nodes, **inputs):
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in inputs.items()]
    ends = [helper.make_tensor_value_info(n.output[0], TensorProto.FLOAT, None) for n in nodes]
    graph = helper.make_graph(nodes, "g", values, ends)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)]), path)
    return path


def relus(*names):
    return [helper.make_node("Relu", [name], [f"{name}_out"]) for name in names]


def faults(work):
    """Return mistakes: (file, arguments of load_model, options of info, arguments of load_onnx)."""
    fixed = store(work / "fixed.onnx", relus("x"), x=[1, 3, 16, 20])
    names = {"a": ["batch", 3, "h", "w"], "b": [1, 3, 16, 20], "c": ["h", "batch"]}
    loose = store(work / "loose.onnx", relus("a", "b", "c"), **names)
    sort = [helper.make_node("NonZero", ["x"], ["y"])]
    unknown = store(work / "unknown.onnx", sort, x=[1, 3, 4, 4])
    shape = (1, 2, 3, 16, 20)
    one = {"input_shapes": [shape]}, ["--shape", "x=1,2,3,16,20"], {"input_size_list": [shape[1:]]}
    other = {"input_shapes": {"x": (1, 3, 9, 9)}}, ["--shape", "x=1,3,9,9"]
    return [
        (fixed, *one),
        (fixed, *other, {"input_size_list": [[3, 9, 9]]}),
        (loose, {}, [], {}),
        (unknown, {}, [], {}),
    ]


@pytest.mark.parametrize("number", range(4))
def test_each_reader_is_told_what_to_do_in_its_own_words(work, number, capsys, monkeypatch):
    path, typed, options, sizes = faults(work)[number]
    with pytest.raises(NpusimError) as raised:
        npusim.load_model(path, **typed)
    text = {FrontEnd.PYTHON: str(raised.value)}
    from npusim.cli import main

    monkeypatch.setattr("sys.argv", ["npusim", "run", str(path), *options])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    text[FrontEnd.CLI] = capsys.readouterr().err
    assert RKNN().load_onnx(path, **sizes) == -1
    text[FrontEnd.RKNN] = capsys.readouterr().err
    for reader, said in text.items():
        assert "Remedy: " in said
        assert not FOREIGN[reader].search(said), said


def test_a_shape_is_told_back_as_it_was_given(work, capsys):
    path = store(work / "fixed.onnx", relus("x"), x=[1, 3, 16, 20])
    assert RKNN().load_onnx(path, input_size_list=[[2, 3, 16, 20]]) == -1
    said = capsys.readouterr().err
    assert "[2, 3, 16, 20] given for input 'x' has 4 sizes" in said
    assert "the model's has 3 sizes: [3, 16, 20], without the batch" in said
    assert RKNN().load_onnx(path, input_size_list=[[3, 16, 20]]) == 0


def test_advice_for_open_sizes_gives_each_symbol_one_value_and_works(work):
    names = {"a": [1, "n", "s", "s"], "b": [1, "s", "n"], "c": [1, "c", 5, "s"], "d": [1, 4]}
    path = store(work / "loose.onnx", relus(*names), **names)
    with pytest.raises(NpusimError) as raised:
        npusim.load_model(path)
    advice = re.search(r"input_shapes=(\{.*\})", raised.value.remedy)
    shapes = ast.literal_eval(advice.group(1))
    assert set(shapes) == {"a", "b", "c"}
    npusim.load_model(path, input_shapes=shapes)
    with words.speaking(FrontEnd.RKNN), pytest.raises(NpusimError) as raised:
        npusim.load_model(path)
    advice = re.search(r"input_size_list=(\[.*\])", raised.value.remedy)
    assert RKNN().load_onnx(path, input_size_list=ast.literal_eval(advice.group(1))) == 0


def test_a_worker_process_keeps_the_words_of_its_parent():
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    context, reader = get_context("spawn"), (FrontEnd.CLI,)
    with ProcessPoolExecutor(1, context, words.settle, reader) as pool:
        assert pool.submit(words.say, "state").result() == "--state"

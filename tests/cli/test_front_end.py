"""Patterns of layers, what to paste next, cuts, one spelling, help and completion."""

import json
import shlex
from pathlib import Path

import pytest
import yaml

import npusim
from npusim.cli.app import COMMANDS, EXAMPLES
from npusim.errors import ConfigError
from npusim.ir.dtypes import DType
from npusim.quantization.hybrid.choice import resolve_layers
from npusim.quantization.schemes import Scheme

NET = ("--dataset", "list.txt", "--mean", "127.5", "--std", "127.5")


def test_patterns_choose_layers_and_a_layer_named_outright_does_not_follow(small):
    graph = npusim.load_model(small[0])
    convolutions = [node.name for node in graph.nodes if node.op == "conv2d"]
    assert len(convolutions) == 2

    def chosen(wanted):
        return resolve_layers(wanted, graph, default=Scheme.U8)

    both = chosen({"Conv_*": Scheme.I16})
    assert both.items() >= dict.fromkeys(convolutions, Scheme.I16).items()
    one = chosen({convolutions[0]: Scheme.U8, "Conv_*": Scheme.I16})
    assert one[convolutions[0]] is Scheme.U8
    assert one[convolutions[1]] is Scheme.I16
    later = chosen({"Conv_*": Scheme.U8, "*c2*": Scheme.I16})
    assert later[convolutions[0]] is Scheme.U8
    assert later[convolutions[1]] is Scheme.I16
    with pytest.raises(ConfigError, match=r"no layer is called like 'Nope_\*'"):
        chosen({"Nope_*": Scheme.I16})


def test_patterns_work_in_quantize_and_run(run, small):
    name, *how = small
    code, _, err = run("quantize", name, *how, "--layer", "Conv_*=i16", "-o", "mixed.npusim")
    assert code == 0, err
    graph = npusim.load_model("mixed.npusim")
    assert {graph.spec(n.outputs[0]).dtype for n in graph.nodes if n.op == "conv2d"} == {DType.I16}
    mixed = run("run", name, *how, "--input", "0.png", "--layer", "Conv_*=i16", "--json")[1]
    stored = run("run", "mixed.npusim", "--input", "0.png", "--json")[1]
    assert json.loads(mixed)["outputs"] == json.loads(stored)["outputs"]


def test_analyze_writes_the_layers_to_blame_and_prints_what_to_paste(run, small):
    name, *how = small
    code, out, err = run("analyze", name, *how, "--threshold", "1", "--write-cfg", "raise.cfg")
    assert code == 1, err
    content = yaml.safe_load(Path("raise.cfg").read_text().split("---", 1)[1])
    raised = content["customized_quantize_layers"]
    assert raised
    assert set(raised.values()) == {"dynamic_fixed_point-i16"}
    assert all(layer in out for layer in raised)
    (following,) = (line for line in out.splitlines() if line.startswith("next: "))
    assert run(*shlex.split(following.removeprefix("next: "))[1:])[0] == 0
    graph = npusim.load_model("better.npusim")
    found = {n.layer_id for n in graph.nodes if graph.spec(n.outputs[0]).dtype is DType.I16}
    assert found >= set(raised) & {node.layer_id for node in graph.nodes}
    assert graph.preprocess["x"].mean == (127.5,)
    code, _, err = run("analyze", name, *how, "--stored", "better.npusim", "--write-cfg", "a.cfg")
    assert code == 2
    assert "--write-cfg" in err


def test_tune_stores_a_model_and_prints_what_to_paste(run, small):
    name, *how = small
    code, out, err = run("tune", name, *how, "-o", "best.npusim", "--most", "4")
    assert code == 0, err
    assert npusim.load_model("best.npusim").is_quantized
    (following,) = (line for line in out.splitlines() if line.startswith("next: "))
    assert run(*shlex.split(following.removeprefix("next: "))[1:])[0] in (0, 1)
    code, out, _ = run("tune", name, *how, "--most", "1")
    assert code == 0
    assert "net.quantization.cfg" in out  # after the model file


def test_models_are_cut_by_their_tensors(run, small):
    name, shape = small[0], ("--shape", "r1=1,8,9,8")
    cut = ("--cut-inputs", "r1", "--cut-outputs", "r2")
    code, out, err = run("info", name, *cut, *shape, "--json")
    assert code == 0, err
    facts = json.loads(out)
    assert facts["inputs"][0].startswith("r1:")
    assert facts["outputs"][0].startswith("r2:")
    code, _, err = run("info", name, "--cut-outputs", ",")
    assert code == 2
    assert "--cut-outputs" in err


def test_the_other_model_and_formats_are_spelled_alike(run, small):
    name, *how = small
    both = [
        run("compare", name, *how, option, "i16", "--input", "0.png", "--json")[1]
        for option in ("--vs-quantize", "--other-quantize")
    ]
    assert both[0] == both[1]
    priced = [
        run("perf", name, option, "i16", vs, "f16", "--json")[1]
        for option, vs in (("--quantize", "--vs-quantize"), ("--dtype", "--vs-dtype"))
    ]
    assert priced[0] == priced[1]
    assert json.loads(priced[0])["a"]["network"] == "net"


def test_every_command_has_an_example_and_is_completed(run, monkeypatch, capsys):
    from npusim.cli.app import app

    assert EXAMPLES.keys() == COMMANDS.keys()
    code, out, _ = run("tune", "--help")
    assert code == 0
    assert "Example: npusim tune" in out
    monkeypatch.setenv("_NPUSIM_COMPLETE", "complete_bash")
    for words, count, found in (("npusim qu", 1, "quantize"), ("npusim run --al", 2, "--algor")):
        monkeypatch.setenv("COMP_WORDS", words)
        monkeypatch.setenv("COMP_CWORD", str(count))
        with pytest.raises(SystemExit):
            app(prog_name="npusim")
        assert found in capsys.readouterr().out

"""Write tests/api_manifest.json: what users of npusim rely on.

Public names with their parameters, fields of the records they return, methods of the RKNN class,
commands with their options, and the keys of every ``--json`` output.

``python tools/make_api_manifest.py`` renews the file; ``--check`` only compares (exit code 1 when
something differs). A renewed manifest is a change of the API: it goes into CHANGELOG.md.
"""

import argparse
import contextlib
import dataclasses
import difflib
import enum
import inspect
import io
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))  # npusim in a bare checkout

import numpy as np
import onnx
import typer
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

import npusim
from npusim import assets
from npusim.cli import main as command_line
from npusim.cli.app import COMMANDS
from npusim.kernels import _jit
from npusim.rknn import RKNN

MANIFEST = HERE.parent / "tests" / "api_manifest.json"
GOLDEN = HERE.parent / "tests" / "golden" / "nn" / "convert_u8.npz"
REMEDY = (
    "the public API differs from tests/api_manifest.json. When that is meant: "
    "python tools/make_api_manifest.py, and say it in CHANGELOG.md: it is a change of the API"
)
# What the public calls return: part of the API by their fields.
RECORDS = (
    "npusim.analysis.analyze.AnalysedLayer",
    "npusim.analysis.analyze.Analysis",
    "npusim.analysis.compare.ComparedLayer",
    "npusim.analysis.compare.Comparison",
    "npusim.analysis.parameters.ParameterComparison",
    "npusim.analysis.metrics.Difference",
    "npusim.evaluation.evaluate.Evaluation",
    "npusim.evaluation.evaluate.RunAccuracy",
    "npusim.perfmodel.estimate.Estimate",
    "npusim.perfmodel.estimate.LayerEstimate",
    "npusim.perfmodel.pricing.OperationEstimate",
    "npusim.quantization.equalize.Equalization",
    "npusim.tuning.state.Point",
    "npusim.tuning.tune.Tuning",
)
# Objects in JSON whose keys are data: operators, engines, networks, ...
BY_NAME = {
    "bound_cycles", "by_bound", "by_engine_us", "by_op_us", "cycles", "elsewhere", "feature_maps",
    "means", "operators", "right", "weights",
}  # fmt: skip
NETWORKS = ("records[].runs", "worst[].runs", "layout.nodes", "time.by_engine", "missing")


def manifest() -> dict[str, Any]:
    """Return the whole manifest."""
    return {
        "names": {name: describe(getattr(npusim, name)) for name in sorted(npusim.__all__)},
        "records": {name.rpartition(".")[2]: _record(name) for name in RECORDS},
        "rknn": _members(RKNN),
        "commands": {name: _options(name) for name in COMMANDS},
        "json": json_keys(),
    }


def describe(value: Any) -> Any:
    """Return the parameters of a function, or what a class has; the type of anything else."""
    if inspect.isclass(value):
        return list(value.__members__) if issubclass(value, enum.Enum) else _members(value)
    return parameters(value) if callable(value) else type(value).__name__


def parameters(function: Callable[..., Any]) -> str:
    """Return the parameters with their defaults, without annotations."""
    signature = inspect.signature(function)
    plain = [
        parameter.replace(
            annotation=inspect.Parameter.empty,
            default=parameter.default
            if parameter.default is inspect.Parameter.empty
            else _Shown(parameter.default),
        )
        for parameter in signature.parameters.values()
        if parameter.name != "self"
    ]
    return str(inspect.Signature(plain))


class _Shown:
    """A default value that is written the same everywhere."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __repr__(self) -> str:
        if isinstance(self.value, enum.Enum):
            return str(self.value)
        if isinstance(self.value, Path):
            return repr(str(self.value))
        return self.value.__name__ if callable(self.value) else repr(self.value)


def _members(cls: type) -> dict[str, str]:
    found = {"()": parameters(cls)}
    for name in sorted(n for n in dir(cls) if not n.startswith("_")):
        value = inspect.getattr_static(cls, name)
        if isinstance(value, staticmethod | classmethod) or inspect.isfunction(value):
            found[name] = parameters(getattr(cls, name))
        else:
            found[name] = "property" if isinstance(value, property) else "field"
    return found


def _record(name: str) -> list[str]:
    module, _, cls = name.rpartition(".")
    record = getattr(import_module(module), cls)
    fields = [field.name for field in dataclasses.fields(record)]
    others = [n for n in dir(record) if not n.startswith("_") and n not in fields]
    kinds = {n: "()" if callable(getattr(record, n)) else "" for n in others}
    return [*(f for f in fields if not f.startswith("_")), *(f"{n}{kinds[n]}" for n in others)]


def _options(name: str) -> dict[str, str]:
    """Return parameter -> how it is spelled, its kind and its default, for a command."""
    function = import_module(f"npusim.cli.{name}").command
    hints = get_type_hints(function, include_extras=True)
    found = {}
    for parameter in inspect.signature(function).parameters.values():
        info = hints[parameter.name].__metadata__[0]
        # typer takes the first word of an annotated option for its default
        words = [info.default] if isinstance(info.default, str) else []
        words += info.param_decls or ()
        spelled = ", ".join(words or [f"--{parameter.name.replace('_', '-')}"])
        if isinstance(info, typer.models.ArgumentInfo):
            spelled = info.metavar or parameter.name.upper()
        required = parameter.default is inspect.Parameter.empty
        default = "required" if required else f"default {_Shown(parameter.default)}"
        found[parameter.name] = f"{spelled}: {_kind(hints[parameter.name].__origin__)}, {default}"
    return found


def _kind(hint: Any) -> str:
    """Return the type of an option; None, where it may be left out, is not named."""
    inner = [arm for arm in get_args(hint) if arm is not type(None)]
    if get_origin(hint) is list:
        return f"{_kind(inner[0])} ..."
    return _kind(inner[0]) if inner else hint.__name__


def json_keys() -> dict[str, list[str]]:
    """Run every command with ``--json`` on small inputs and return the keys it prints."""
    found = {}
    with tempfile.TemporaryDirectory() as folder, _inside(folder):
        model = _write_inputs(Path(folder))
        given = (*model, "--mean", "127.5", "--std", "127.5")
        calibrated = (*given, "--dataset", "list.txt")
        u8 = (*calibrated, "--quantize", "u8")
        for name, arguments in {
            "demo": (),
            "run": u8,
            "quantize": (*u8, "-o", "m.rknn"),
            "tune": (*u8, "-o", "t", "--samples", "1", "--most", "2"),
            "export": ("m.rknn", "-o", "q.onnx"),
            "equalize": (*calibrated, "-o", "e.onnx"),
            "perf": (*model, "--memory"),
            "perf --vs": (*model, "--vs-dtype", "i16"),
            "dump": (*u8, "-o", "dump"),
            "compare": u8,
            "compare of two models": ("m.rknn", *u8[:1], "--input", "0.png"),
            "analyze": u8,
            "report": (*u8, "-o", "r.html", "--vs", "m.rknn", "--labelled", "set.txt"),
            "evaluate": (*given, "--dataset", "set.txt", "--calibration", "list.txt"),
            "info": model,
            "info of a stored model": ("m.rknn",),
            "info of an unsupported model": ("odd.onnx",),
            "ops": (),
            "explain": (),
            "warmup": (),
            "conformance": (str(GOLDEN), "perf.csv"),
        }.items():
            command = name.split()[0]
            keys = set(_keys(_printed(command, *arguments, "--json")))
            parents = {key[:at] for key in keys for at, sign in enumerate(key) if sign in ".["}
            parents |= {
                key[: at + 2] for key in keys for at, sign in enumerate(key[:-2]) if sign == "["
            }
            found[name] = sorted(keys - parents)
    return found


def _write_inputs(folder: Path) -> tuple[str, ...]:
    """Write a small network, an unsupported one, pictures, lists and a table of times."""
    rng = np.random.default_rng(1)
    shape = (1, 3, 8, 8)
    weights = {"w": rng.normal(size=(8, 3, 3, 3)) / 5, "v": rng.normal(size=(4, 8, 1, 1))}
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], name="a", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"], name="b"),
        helper.make_node("Conv", ["b", "v"], ["c"], name="c"),
        helper.make_node("GlobalAveragePool", ["c"], ["d"], name="d"),
        helper.make_node("Flatten", ["d"], ["e"], name="e"),
        helper.make_node("Softmax", ["e"], ["y"], name="y", axis=1),
    ]
    _write_onnx(folder / "net.onnx", nodes, shape, weights)
    _write_onnx(folder / "odd.onnx", [helper.make_node("Det", ["x"], ["y"])], shape, {})
    for i in range(2):
        pixels = rng.integers(0, 256, (8, 8, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    (folder / "list.txt").write_text("0.png\n1.png\n")
    (folder / "set.txt").write_text("0.png 0\n1.png 1\n")
    (folder / "perf.csv").write_text(
        "network,target,dtype,clock_mhz,ms,trust,source\n"
        f"{assets.layer_list_path()},rk1808,u8,792,1.0,high,made up\n"
    )
    return ("net.onnx",)


def _write_onnx(path: Path, nodes: list[Any], shape: tuple[int, ...], weights: Any) -> None:
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(v.astype(np.float32), k) for k, v in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    onnx.save(model, str(path))


@contextlib.contextmanager
def _inside(folder: str) -> Iterator[None]:
    """Work in a folder; kernels are not compiled for the list of them."""
    before, compile_all = Path.cwd(), _jit.compile_all
    os.chdir(folder)
    _jit.compile_all = lambda: ()  # type: ignore[assignment]
    try:
        yield
    finally:
        _jit.compile_all = compile_all
        os.chdir(before)


def _printed(*arguments: str) -> Any:
    """Return what a command prints, as data."""
    out, given = io.StringIO(), sys.argv
    sys.argv = ["npusim", *arguments]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
            command_line()
    except SystemExit as ended:
        if ended.code not in (None, 0, 1) and "unsupported" not in out.getvalue():
            raise RuntimeError(f"npusim {' '.join(arguments)}: exit code {ended.code}") from None
    finally:
        sys.argv = given
    return json.loads(out.getvalue())


def _keys(value: Any, place: str = "") -> Iterator[str]:
    """Yield the places of all values: ``layers[].name``; ``*`` stands for keys that are data."""
    if isinstance(value, dict):
        named = place.rpartition(".")[2] in BY_NAME or place in NETWORKS
        inner = {
            key
            for name, item in value.items()
            for key in _keys(item, f"{place}.{'*' if named else name}".lstrip("."))
        }
        yield from inner or {place}
    elif isinstance(value, list):
        yield from {key for item in value for key in _keys(item, f"{place}[]")} or {f"{place}[]"}
    else:
        yield place


def text() -> str:
    """Return the manifest as it is stored."""
    return json.dumps(manifest(), indent=1) + "\n"


def difference() -> str:
    """Return what differs from the stored manifest, line by line; empty when nothing does."""
    known = MANIFEST.read_text().splitlines() if MANIFEST.is_file() else []
    lines = difflib.unified_diff(known, text().splitlines(), "stored", "present", lineterm="", n=1)
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Write or check the manifest; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    if not parser.parse_args(arguments).check:
        MANIFEST.write_text(text())
        return 0
    found = difference()
    if found:
        print(f"{REMEDY}\n{found}", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())

"""``npusim info``."""

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from npusim.api.refusals import OWN_FORMAT, refusals
from npusim.cli import common
from npusim.errors import ConfigError, ModelImportError, UnsupportedOpError
from npusim.importers.formats import head_of, inputs_of
from npusim.ir.graph import Graph, Preprocess
from npusim.ir.text import placement, tensor_text
from npusim.ir.vendor_file import VendorFile, is_vendor_file, read_vendor_file
from npusim.ops import node_macs
from npusim.report.number_formats import number_formats
from npusim.report.table import Sheet, names, prose, words

NAME = "info"
LAYER_FACTS = ("engine", "form", "multiplier", "shift", "rounding")


def command(
    model: Annotated[
        str | None,
        typer.Argument(metavar="MODEL", help="As for other commands; or --kernels."),
        common.MODEL,
    ] = None,
    weights: common.WeightsOption = None,
    cut_inputs: common.CutInputsOption = None,
    cut_outputs: common.CutOutputsOption = None,
    shape: common.ShapeOption = None,
    layers: Annotated[
        bool, typer.Option("--layers", help="Print engine, form and requantization of layers.")
    ] = False,
    kernels: Annotated[
        bool, typer.Option("--kernels", help="Show the compiled kernels by work, type and path.")
    ] = False,
    as_json: common.JsonOption = False,
) -> None:
    """Show inputs, outputs, operators, MACs, parameters; list everything unsupported at once."""
    shown = common.console(as_json)
    if kernels:
        if model is not None:
            raise ConfigError(
                f"--kernels and the model {model}",
                rule="--kernels shows what all models run on",
                remedy="leave the model out",
            )
        _show_kernels(shown, as_json)
        return
    if model is None:
        raise ConfigError("no model", remedy="name a file or 'demo', or ask for --kernels")
    if (closed := _precompiled(model)) is not None:
        _show_precompiled(shown, closed, model, as_json)
        return
    try:
        graph = common.load(
            model,
            weights=weights,
            part=common.cuts(cut_inputs, cut_outputs),
            shape=shape,
            as_source=True,
        )
    except ModelImportError as error:
        _show_refused(shown, model, error, as_json)
        if as_json and isinstance(error, UnsupportedOpError):
            raise typer.Exit(2) from None
        raise
    facts = describe(graph)
    if as_json:
        common.print_json(facts)
        return
    shown.print(_facts_table(graph, facts))
    if layers:
        shown.print(_layer_table(facts["layers"]))


def _facts_table(graph: Graph, facts: dict[str, Any]) -> Sheet:
    title = f"{graph.name} ({graph.source.framework} {graph.source.detail})"
    table = Sheet([*words("item"), *prose("value")], title)
    table.add("inputs", "\n".join(facts["inputs"]))
    if facts["preprocessing"]:
        table.add("preprocessing", "\n".join(facts["preprocessing"]))
    table.add("outputs", "\n".join(facts["outputs"]))
    table.add("operators", "\n".join(f"{op} x {n}" for op, n in facts["operators"].items()))
    if facts["host_layers"]:
        rows = (f"{row['layer']} ({row['op']})" for row in facts["host_layers"])
        table.add("on the CPU, in float", "\n".join(rows))
    table.add("MACs", f"{facts['macs']:,}")
    table.add("parameters", f"{facts['parameters']:,}")
    if formats := facts["number_formats"]:
        table.add("number formats", formats["scheme"])
        for reason, names in formats["elsewhere"].items():
            table.add(f"elsewhere ({len(names)})", f"{reason}: {', '.join(names)}")
    for scheme, lines in facts["does_not_fit"].items():
        if lines:
            table.add(f"does not fit {scheme} ({len(lines)})", "\n".join(lines))
    if facts["notes"]:
        table.add("notes", "\n".join(facts["notes"]))
    for scheme, text in facts["refused"].items():
        table.add("refused" + ("" if scheme == OWN_FORMAT else f" in {scheme}"), text)
    table.add("unsupported", "nothing")
    return table


def _show_refused(shown: Console, model: str, error: ModelImportError, as_json: bool) -> None:
    """Show the inputs of a file that cannot be imported, which the error may ask sizes of."""
    try:
        inputs = inputs_of(model)
    except ModelImportError:
        return  # the file cannot be read at all: the first error says why
    if as_json and isinstance(error, UnsupportedOpError):
        unsupported = str(error).splitlines()
        common.print_json({"model": model, "inputs": inputs, "unsupported": unsupported})
    for line in () if as_json else inputs:
        shown.print(f"input {line}", highlight=False)


def _precompiled(model: str) -> VendorFile | None:
    """Return what can be read of a pre-compiled file of the vendor's toolkit; None for others."""
    path = Path(model)
    if not path.is_file() or not is_vendor_file(head_of(path)):
        return None
    found = read_vendor_file(path)
    return found if found.precompiled else None


def _show_precompiled(shown: Console, found: VendorFile, model: str, as_json: bool) -> None:
    if as_json:
        facts = {
            "model": model,
            "precompiled": True,
            "toolkit": found.config.get("version", ""),
            "targets": list(found.targets),
            "tensors": [asdict(tensor) for tensor in found.tensors()],
            "preparation": found.preparation,
        }
        common.print_json(facts)
        return
    toolkit = f"RKNN-Toolkit {found.config.get('version', 'of unknown release')}"
    targets = ", ".join(found.targets) or "not given"
    for line in (f"{model}: pre-compiled by {toolkit}, target {targets}", *found.lines()):
        shown.print(line, highlight=False)
    text = "Nothing else can be read: it holds machine code for one driver instead of the network."
    shown.print(text, highlight=False)


def _layer_table(rows: list[dict[str, Any]]) -> Sheet:
    columns = [*names("layer"), *words("op", "engine", "form")]
    table = Sheet([*columns, *prose(*LAYER_FACTS[2:])], "layers", legend=("NN", "TP", "SH"))
    for row in rows:
        table.add(row["layer"], row["op"], *(str(row[name]) for name in LAYER_FACTS))
    return table


def _show_kernels(shown: Console, as_json: bool) -> None:
    """Print the table that the runtime chooses kernels from."""
    from npusim.runtime import isa  # here: models are described without loading Numba
    from npusim.runtime.kernel_table import listing

    rows = listing()
    if as_json:
        offers = {"isa": isa.selected(), "amx_refused": isa.amx_refusal() or None}
        common.print_json({**offers, "kernels": rows})
        return
    columns = [*words("work"), *prose("types"), *names(*rows[0]["kernels"]), *words("in use")]
    table = Sheet(columns, f"kernels; in use here: path {isa.selected()}")
    for row in rows:
        paths = (name or "-" for name in row["kernels"].values())
        table.add(row["work"], row["types"], *paths, row["in_use"])
    shown.print(table)
    shown.print(
        "-: the path has none of its own; the portable one runs there, for amx avx512vnni's"
    )
    offer = isa.amx_refusal()
    shown.print(f"amx: not offered: {offer}" if offer else "amx: offered")


def describe(graph: Graph) -> dict[str, Any]:
    """Return what a graph holds as plain values."""
    macs = sum(
        node_macs(
            node,
            [graph.spec(name).shape for name in node.inputs],
            graph.spec(node.outputs[0]).shape,
        )
        for node in graph.nodes
    )
    return {
        "name": graph.name,
        "source": graph.source.framework,
        "inputs": [tensor_text(graph, name) for name in graph.inputs],
        "preprocessing": _preprocessing(graph),
        "outputs": [_result_text(graph, name) for name in graph.results],
        "operators": dict(Counter(node.op for node in graph.nodes).most_common()),
        "macs": macs * graph.batch,
        "parameters": sum(value.size for value in graph.constants.values()),
        "number_formats": _formats(graph),
        "does_not_fit": _does_not_fit(graph),
        "layers": [{"layer": n.layer_id, "op": n.op, **placement(n)} for n in graph.nodes],
        "host_layers": [
            {"layer": layer.name, "op": layer.op, "inputs": list(layer.inputs)}
            for layer in (graph.tail.layers if graph.tail else ())
        ],
        "notes": list(graph.notes),
        "refused": refusals(graph),
        "unsupported": [],
    }


def _preprocessing(graph: Graph) -> list[str]:
    """Return what a stored model does to its samples; other models are told it by options."""
    told = any(how != Preprocess() for how in graph.preprocess.values())
    if not (common.is_quantized(graph) or told):
        return []
    from npusim.quantization.input_text import file_text, input_text

    picture = Path("picture.png")
    return [
        input_text(name, spec, how, file_text(picture, spec, how))
        for name, how in graph.preprocess.items()
        if (spec := graph.spec(name)).shape[1] in (1, 3)
    ]


def _result_text(graph: Graph, name: str) -> str:
    """Describe a result: an output of the NPU, or what a host layer gives."""
    for layer in graph.tail.layers if graph.tail else ():
        if name in layer.outputs:
            return f"{name} (made by host layer {layer.name})"
    return tensor_text(graph, name)


def _does_not_fit(graph: Graph) -> dict[str, list[str]]:
    """Return format -> constants of a float model that it does not hold."""
    if graph.is_quantized or graph.is_lowered:
        return {}
    from npusim.passes.pipeline import optimize
    from npusim.quantization.fits import does_not_fit

    return does_not_fit(optimize(graph))


def _formats(graph: Graph) -> dict[str, Any] | None:
    """Return how the chip runs a model that came quantized; None for float models."""
    if not graph.is_quantized:
        return None
    import npusim
    from npusim.passes.pipeline import lower

    found = number_formats(graph if graph.is_lowered else lower(npusim.float16(graph)))
    return {"scheme": found.scheme, **found.to_dict()}

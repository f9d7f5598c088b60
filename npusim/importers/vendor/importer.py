"""Ordinary ``.rknn`` file of the vendor's toolkit -> quantized Graph, as the toolkit lowered it.

Layers keep the toolkit's names and numbers, so that a board's layer dump lines up with a run.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from npusim.errors import ConfigError, ContainerError, GraphError, UnsupportedOpError
from npusim.importers.common.builder import GraphBuilder, UnsupportedForm
from npusim.importers.common.holes import leaving
from npusim.importers.common.two_files import Fingerprint
from npusim.importers.vendor import (
    ops_custom,
    ops_move,
    ops_rare,
    ops_recurrent,
    ops_values,
    ops_weighted,
)
from npusim.importers.vendor.context import CONVERTERS, VendorContext
from npusim.importers.vendor.network import (
    DAMAGE,
    End,
    VendorLayer,
    VendorNetwork,
    read_network,
)
from npusim.ir.graph import FARTHEST, Graph, Preprocess, Source, toposorted
from npusim.ir.holes import Hole
from npusim.ir.vendor_file import VENDORS_TOOLKIT, VendorFile, read_vendor_file, refusal
from npusim.ir.verify import verify
from npusim.plain import name_of

FAMILIES = (ops_custom, ops_move, ops_rare, ops_recurrent, ops_values, ops_weighted)
"""Importing them registers the converters."""


def load_vendor(path: str | Path) -> Graph:
    """Return the network of an ordinary vendor file, quantized as the file says.

    Inputs and outputs are called as in the file and have its axes in numpy's order. Mean, std and
    channel order are the file's.

    Raises
    ------
    ContainerError
        When the file is encrypted, pre-compiled (it then says what can be read) or damaged.
    ModelImportError
        When the file is written while it is being read.
    UnsupportedOpError
        Listing every layer that npusim does not have.
    """
    path = Path(path)
    fingerprint = Fingerprint(path)
    file = read_vendor_file(path)
    if file.precompiled:
        raise refusal(path)
    network = read_network(path, file)
    builder = GraphBuilder(where=str(path))
    for end in network.inputs:
        builder.add_input(end.name, end.shape, end.stored.dtype, end.stored.quant)
    context = VendorContext(builder, network.constants)
    _convert(network, context, path)
    names = _outputs(network, context, path)
    graph = builder.finish(
        str(file.config.get("name") or name_of(path)),
        [end.name for end in network.inputs],
        names,
        renames={},
        source=_source(path, file, fingerprint),
        notes=[*_notes(file), *context.notes],
    ).copy(target=(file.targets or ("rk1808",))[0].lower())
    try:
        verify(graph, "quantized")
    except GraphError as error:
        raise ContainerError(
            error.what,
            where=f"{path}: {error.where}" if error.where else str(path),
            rule=error.rule,
        ) from None
    return _numbered(graph, context.uids).copy(
        preprocess=_preprocess(file, network.inputs, str(path))
    )


def _convert(network: VendorNetwork, context: VendorContext, path: Path) -> None:
    known = [*(end.name for end in network.inputs), *network.constants, ""]
    findings: list[str] = []
    holes: list[Hole] = []
    unknown: list[str] = []
    lost: set[str] = set()
    for layer in _in_order(network, known, path):
        convert = CONVERTERS.get(layer.type)
        try:
            if convert is None:
                raise UnsupportedForm("no counterpart")
            if layer.flags.get("has_relu") and layer.type not in ops_weighted.WITH_RELU:
                raise UnsupportedForm(
                    "it holds a relu", "convolutions and fully connected ones may"
                )
            if lost.isdisjoint(layer.inputs):
                convert(layer, context)
                continue
            unknown.append(layer.name)
        except UnsupportedForm as form:
            advice = f"; {form.advice}" if form.advice else ""
            findings.append(f"{layer.where}: {form.reason}{advice}")
            holes.append(Hole(layer=layer.name, op=layer.type, why=form.reason))
        except GraphError as error:
            raise ContainerError(
                error.what, where=f"{path}: {layer.where}", rule=error.rule, remedy=error.remedy
            ) from None
        except DAMAGE as error:
            raise ContainerError(
                f"its description is damaged ({type(error).__name__}: {error})",
                where=f"{path}: {layer.where}",
                remedy="copy or build the file again",
            ) from error
        except ContainerError as error:
            raise ContainerError(
                error.what,
                where=f"{path}: {error.where or layer.where}",
                rule=error.rule,
                remedy=error.remedy or "copy or build the file again",
            ) from None
        lost.update(layer.outputs)
    if findings:
        refused = UnsupportedOpError(
            f"{len(findings)} unsupported layer{'s' * (len(findings) > 1)}:"
            + "".join(f"\n    {line}" for line in findings),
            where=str(path),
            rule="every layer needs a counterpart; npusim ops lists them",
            remedy="load the source model and build it with npusim",
        )
        raise leaving(refused, context.builder, holes, unknown)


def _in_order(network: VendorNetwork, known: list[str], path: Path) -> tuple[VendorLayer, ...]:
    """Return the layers in execution order."""
    try:
        return cast(tuple[VendorLayer, ...], toposorted(cast(Any, network.layers), known))
    except GraphError as error:
        raise ContainerError(error.what, where=str(path), rule=error.rule) from None


def _outputs(network: VendorNetwork, context: VendorContext, path: Path) -> list[str]:
    """Give every output the name that the file has for it."""
    names = []
    for tensor, end in network.outputs:
        source = context.operand(tensor)
        spec = context.builder.tensors.get(source)
        if spec is None:  # renamed below
            raise ContainerError(
                f"output {end.name!r} is another output too",
                where=str(path),
                rule="every output is a tensor of its own",
                remedy="the file is damaged: copy or build it again",
            )
        if spec.shape != end.shape:
            raise ContainerError(
                f"output {end.name!r} comes out as {spec.shape}",
                where=str(path),
                rule=f"the file says {end.shape}",
            )
        if end.name in context.builder.tensors and end.name != source:
            raise ContainerError(f"two tensors are called {end.name!r}", where=str(path))
        if end.name != source:
            context.builder.rename(source, end.name)
        names.append(end.name)
    return names


def _numbered(graph: Graph, uids: Mapping[str, int]) -> Graph:
    """Give layers the file's numbers; those that were added here get the next ones."""
    following = max(uids.values(), default=-1)
    nodes = []
    for node in graph.nodes:
        number = uids.get(node.name)
        if number is None:
            following += 1
            number = following
        nodes.append(replace(node, uid=number))
    return graph.copy(nodes=tuple(nodes))


def _source(path: Path, file: VendorFile, fingerprint: Fingerprint) -> Source:
    release = file.config.get("version") or "of unknown release"
    return Source(
        framework=VENDORS_TOOLKIT,
        path=str(path),
        sha256=fingerprint.hexdigest(),
        detail=str(release),
    )


def _notes(file: VendorFile) -> list[str]:
    source = file.config.get("ori_network_platform") or file.config.get("network_platform")
    origin = f" from a {source} model" if source else ""
    return [f"built by toolkit {file.config.get('version', 'of unknown release')}{origin}"]


def _preprocess(file: VendorFile, inputs: tuple[End, ...], where: str) -> dict[str, Preprocess]:
    """Return mean, std and channel order of every input.

    Releases up to 1.4 have no ``std_value``: behind the means of an input stands its scale.
    """
    means, stds = (_numbers(file, key, where) for key in ("mean_value", "std_value"))
    orders = _wholes(file, "reorder", where)
    counts = _wholes(file, "mean_value_chns", where)
    if len(counts) != len(inputs):
        counts = [len(means or stds) // max(len(inputs), 1)] * len(inputs)
    found = {}
    for number, (end, count) in enumerate(zip(inputs, counts, strict=True)):
        begin = sum(counts[:number])
        mean = means[begin : begin + count]
        std = stds[begin : begin + count]
        channels = end.shape[1] if len(end.shape) > 1 else 0
        if not std and len(mean) > 1:
            *mean, scale = mean
            std = [scale] * len(mean)
        mean, std = (_per_channel(n, channels, f"{where}: input {end.name!r}") for n in (mean, std))
        order = orders[3 * number : 3 * number + 3] if channels == 3 else []
        if sorted(order) != [0, 1, 2] or order == [0, 1, 2]:
            order = []
        if any(mean) or any(n != 1 for n in std) or order:
            try:
                how = Preprocess(mean=tuple(mean), std=tuple(std), reorder=tuple(order))
            except ConfigError as error:
                raise ContainerError(
                    error.what, where=f"{where}: input {end.name!r}", rule=error.rule
                ) from None
            found[end.name] = how
    return found


def _per_channel(numbers: list[float], channels: int, where: str) -> list[float]:
    """Return one number per channel, or one for all where the input is not N, C, .."""
    if len(numbers) in (0, 1, channels):
        return numbers
    if len(set(numbers)) == 1:
        return numbers[:1]
    raise ContainerError(
        f"the means or scales are {numbers}",
        where=where,
        rule=f"one for all channels or one for each of {channels}",
    )


def _numbers(file: VendorFile, key: str, where: str) -> list[float]:
    value = file.config.get(key) or []
    items = value if isinstance(value, list) else [value]
    flat = [n for item in items for n in (item if isinstance(item, list) else [item])]
    if not all(isinstance(n, int | float) and abs(n) <= FARTHEST for n in flat):
        raise ContainerError(
            f"{key} is {value!r}", where=where, rule=f"numbers from -{FARTHEST:g} to {FARTHEST:g}"
        )
    return [float(n) for n in flat]


def _wholes(file: VendorFile, key: str, where: str) -> list[int]:
    numbers = _numbers(file, key, where)
    if not all(n.is_integer() and n >= 0 for n in numbers):
        raise ContainerError(f"{key} is {numbers}", where=where, rule="whole numbers from 0 on")
    return [int(n) for n in numbers]

"""MXNet network (symbol json and params) -> float Graph."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from os.path import isfile
from pathlib import Path
from typing import Any

from npusim import words
from npusim.errors import ModelImportError
from npusim.importers.common.builder import GraphBuilder, suggestion
from npusim.importers.common.two_files import (
    NO_WEIGHTS,
    WEIGHTS_FOUND,
    two_files,
    wanted_shape,
)
from npusim.importers.mxnet import (
    ops_binary,
    ops_constant,
    ops_conv,
    ops_cut,
    ops_detect,
    ops_norm,
    ops_pool,
    ops_reduce,
    ops_resize,
    ops_shape,
    ops_softmax,
    ops_unary,
)
from npusim.importers.mxnet.advice import advise
from npusim.importers.mxnet.context import MxContext, converter
from npusim.importers.mxnet.params import Params, read_params
from npusim.importers.mxnet.signatures import picks_by_index
from npusim.importers.mxnet.symbol import MxNode, Symbol, read_symbol
from npusim.ir.dtypes import DType
from npusim.ir.graph import Graph, Source
from npusim.plain import name_of

FAMILIES = (
    *(ops_binary, ops_constant, ops_conv, ops_cut, ops_detect, ops_norm, ops_pool),
    *(ops_reduce, ops_resize, ops_shape, ops_softmax, ops_unary),
)
"""Importing them registers the converters."""

ShapesLike = Mapping[str, Sequence[Any]] | Sequence[Sequence[Any]] | None
_EPOCH = re.compile(r"(.+)-(\d{4,})\.params")


def load_mxnet(
    symbol: str | Path,
    params: str | Path | bool | None = None,
    *,
    inputs: Sequence[str] | None = None,
    input_shapes: ShapesLike = None,
    outputs: Sequence[str] | None = None,
    mkldnn: bool = True,
) -> Graph:
    """Read an MXNet network as a float graph, N, C, H, W, as it is at inference.

    Tensors are called as in the framework: variables by their name, results ``<node>_output``.
    Labels of training ends vanish.

    Parameters
    ----------
    symbol : str or Path
        The json, of any version.
    params : str, Path or False, optional
        The ``.params``. None: ``<prefix>-NNNN.params`` beside ``<prefix>-symbol.json``, of the
        highest epoch. False, or none there: structure only, with seeded pseudo-random weights.
    inputs : sequence of str, optional
        Tensors or nodes to begin at; their shapes must be given.
    input_shapes : mapping or sequence, optional
        Shapes by input, or in order, with the batch; a symbol has none but in ``__shape__`` of its
        variables.
    outputs : sequence of str, optional
        Tensors or nodes to end at. Default: the heads of the symbol.
    mkldnn : bool
        SoftmaxOutput without settings of four axes: over the last, as MXNet with MKL-DNN (its
        default) does; False: over all numbers of a sample.

    Raises
    ------
    UnsupportedOpError
        Listing every node without a counterpart, with advice.
    ModelImportError
        For files that cannot be read and networks that are not valid.
    """
    path, weights = two_files(symbol, params, ".params", ".json", network_of)
    where = str(path)
    for what, names in (("inputs", inputs), ("outputs", outputs)):
        if isinstance(names, str):
            raise ModelImportError(
                f"{what} is a single string", where=where, rule="a list of names"
            )
    net = read_symbol(path)
    file, note = _weights(path, weights)
    ends = _ends(net, outputs)
    starts, layers = _between(net, inputs, ends)
    context = MxContext(
        GraphBuilder(where=where),
        names=set(net.variables) | {name for node in net.nodes for name in node.outputs},
        notes=[*([note] if note else []), *net.notes],
        mkldnn=mkldnn,
    )
    begins = _variables(context, net, layers, starts, ends, file, _named(input_shapes))
    _add_inputs(context, net, begins, layers, input_shapes)
    converter.run(layers, context, advise, where)
    _note_unused(context, file, outputs is not None or inputs is not None)
    renames = context.finish_outputs(begins, ends)
    return context.builder.finish(
        _prefix(path),
        begins,
        ends,
        renames=renames,
        source=_source(path, file),
        notes=context.notes,
    )


def _prefix(path: Path) -> str:
    return name_of(path).removesuffix("-symbol")


def network_of(params: Path) -> Path | None:
    """Return the symbol beside a parameter file."""
    found = _EPOCH.fullmatch(params.name)
    prefix = found.group(1) if found else params.stem
    for name in (f"{prefix}-symbol.json", f"{prefix}.json"):
        if isfile(params.with_name(name)):
            return params.with_name(name)
    return None


def params_of(symbol: Path) -> Path | None:
    """Return the parameter file beside a symbol: of the highest epoch, or of the same stem."""
    prefix, best = _prefix(symbol), (-1, symbol)
    for entry in symbol.parent.glob("*.params"):
        found = _EPOCH.fullmatch(entry.name)
        if found and found.group(1) == prefix:
            best = max(best, (int(found.group(2)), entry))
    if best[0] >= 0:
        return best[1]
    same = symbol.with_name(f"{prefix}.params")
    return same if isfile(same) else None


def _weights(path: Path, weights: str | Path | bool | None) -> tuple[Params | None, str]:
    """Return the weights and a line about where they come from."""
    if isinstance(weights, str | Path):
        return read_params(Path(weights)), ""
    found = params_of(path) if weights is None else None
    if found is not None:
        return read_params(found), f"{WEIGHTS_FOUND}{found.name}, beside the network"
    return None, ""


def _source(path: Path, file: Params | None) -> Source:
    digest = hashlib.sha256(path.read_bytes())
    if file is not None:
        digest.update(file.fingerprint.hexdigest().encode())
    detail = file.path.name if file else "structure only"
    return Source(framework="mxnet", path=str(path), sha256=digest.hexdigest(), detail=detail)


def _tensors(net: Symbol) -> dict[str, str]:
    """Return every name that stands for a tensor: itself, a variable, or a node's first output."""
    names = {node.name: node.outputs[0] for node in net.nodes}
    names |= {name: name for node in net.nodes for name in node.outputs}
    return names | {name: name for name in net.variables}


def _found(net: Symbol, names: Sequence[str], what: str) -> list[str]:
    known = _tensors(net)
    for name in names:
        if name not in known:
            raise ModelImportError(
                f"there is no tensor or node {name!r} to {what} at",
                where=net.where,
                remedy=suggestion(name, known),
            )
    found = [known[name] for name in names]
    if not found or len(set(found)) != len(found):
        raise ModelImportError(
            f"the tensors to {what} at are {found}", where=net.where, rule="at least one, no twins"
        )
    return found


def _ends(net: Symbol, outputs: Sequence[str] | None) -> list[str]:
    if outputs is None:
        return list(net.heads)
    by_node = {node.name: node.outputs for node in net.nodes}
    names = [name for given in outputs for name in by_node.get(given, (given,))]
    return _found(net, names, "end")


def _between(
    net: Symbol, inputs: Sequence[str] | None, ends: Sequence[str]
) -> tuple[list[str] | None, list[MxNode]]:
    """Return the tensors to begin at, if they are given, and the nodes the outputs need."""
    starts = None if inputs is None else _found(net, inputs, "begin")
    reached, needed = set(ends), []
    for node in reversed(net.nodes):
        if any(name in reached and name not in (starts or ()) for name in node.outputs):
            needed.append(node)
            reached.update(node.inputs)
    idle = [name for name in starts or () if name not in reached]
    if idle:
        raise ModelImportError(
            f"the outputs {list(ends)} do not depend on {idle}",
            where=net.where,
            remedy="remove them from inputs",
        )
    return starts, needed[::-1]


def _named(shapes: ShapesLike) -> set[str]:
    return set(shapes) if isinstance(shapes, Mapping) else set()


def _variables(
    context: MxContext,
    net: Symbol,
    layers: Sequence[MxNode],
    starts: Sequence[str] | None,
    ends: Sequence[str],
    file: Params | None,
    shaped: set[str],
) -> list[str]:
    """Tell parameters from inputs and return the inputs.

    With a file, inputs are what it does not hold and no node learns; without one, what no node
    learns. A name with a given shape is an input.
    """
    read = dict.fromkeys(name for node in layers for name in node.inputs)
    learned = {
        name
        for node in layers
        for name, word in zip(node.inputs, node.arguments, strict=False)
        if word != "data"
    }
    for node in layers:  # what a node also reads as data is an input
        words = [*node.arguments, *("data",) * len(node.inputs)]
        pairs = zip(node.inputs, words, strict=False)
        learned.difference_update(name for name, word in pairs if word == "data")
    begins, missing = [], []
    for name in net.variables:
        if name not in read and name not in ends:
            continue
        if name in (starts or ()) or (name in shaped and not (file and name in file)):
            begins.append(name)
        elif file is not None and name in file:
            context.values.store(name, file.value(name))
        elif name in learned and file is None:
            context.free.add(name)
        elif name in learned:
            missing.append(name)
        else:
            begins.append(name)
    if missing and file is not None:
        raise ModelImportError(
            f"{file.path.name} lacks {', '.join(map(repr, missing[:4]))}"
            + (f" and {len(missing) - 4} more" if len(missing) > 4 else ""),
            where=f"{net.where}: node {_reader(layers, missing[0])!r}",
            rule="a parameter file holds every learned input of the symbol",
            remedy="give the params file that belongs to this symbol",
        )
    if context.free:
        context.notes.insert(
            0,
            f"{NO_WEIGHTS}: seeded pseudo-random numbers; speed can be measured, results mean "
            "nothing",
        )
    cut = [name for name in starts or () if name not in net.variables]
    extra = [name for name in begins if starts is not None and name not in starts]
    if extra:
        raise ModelImportError(
            f"the outputs {list(ends)} also need the inputs {extra}",
            where=net.where,
            rule="the inputs given must cut every path to the outputs",
            remedy=f"add {extra} to inputs",
        )
    return list(starts) if starts is not None else [*begins, *cut]


def _reader(layers: Sequence[MxNode], name: str) -> str:
    return next(node.name for node in layers if name in node.inputs)


def _add_inputs(
    context: MxContext,
    net: Symbol,
    begins: list[str],
    layers: Sequence[MxNode],
    shapes: ShapesLike,
) -> None:
    for name in begins:
        own = _own_shape(context, net, name, len(begins))
        shape = wanted_shape(name, own, shapes, begins, net.where, whole=True)
        if shape is None:
            raise ModelImportError(
                f"input {name!r} has no size in the file",
                where=f"{net.where}: node {name!r}",
                rule="an MXNet symbol holds no sizes; the chip runs networks of fixed size",
                remedy=f"give {words.one_shape(name, (1, 3, 224, 224))}",
            )
        readers = [node for node in layers if name in node.inputs]
        indices = bool(readers) and all(
            picks_by_index(node.type, node.inputs, name) for node in readers
        )
        if indices:
            context.notes.append(f"input {name!r} holds indices: whole numbers (int32)")
        context.builder.add_input(name, shape, DType.I32 if indices else DType.F32)


def _own_shape(context: MxContext, net: Symbol, name: str, count: int) -> tuple[int, ...] | None:
    """Return ``__shape__`` of a variable; an unknown batch becomes 1."""
    attributes = net.variables.get(name)
    shape = attributes.wholes("__shape__") if attributes else ()
    if shape and shape[0] == 0 and 0 not in shape[1:]:
        context.notes.append(f"input {name!r}: the batch is open in the file, 1 here")
        return (1, *shape[1:])
    return None if not shape or min(shape) < 1 else shape


def _note_unused(context: MxContext, file: Params | None, cut: bool) -> None:
    names = file.unused() if file and not cut else []
    if names:
        more = f" and {len(names) - 4} more" if len(names) > 4 else ""
        context.notes.append(
            f"{len(names)} arrays of the params file are not used: {', '.join(names[:4])}{more}"
        )

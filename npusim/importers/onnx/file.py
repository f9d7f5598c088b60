"""Reads an ONNX file: recognises foreign formats and checks what no later step checks."""

from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from npusim.errors import ModelImportError, UnsupportedOpError
from npusim.importers.common.builder import read_bytes, sha256_of
from npusim.importers.formats import refuse_other
from npusim.importers.onnx.cut import graphs_of, node_name
from npusim.importers.onnx.inline import inlined
from npusim.importers.onnx.inputs import listed
from npusim.ir.graph import Source

MAX_FILE_BYTES = (1 << 31) - 1
"""The limit of the file format itself; larger weights are external data."""

OLDEST_OPSET = 7
STANDARD_DOMAINS = ("", "ai.onnx")


def read_model(path: Path) -> tuple[onnx.ModelProto, Source]:
    """Return the parsed model and its identity.

    Raises
    ------
    ModelImportError
        When the file cannot be read, is no ONNX model or is newer than the onnx package.
    """
    where = str(path)
    data = read_bytes(path, MAX_FILE_BYTES)
    if not data:
        raise ModelImportError("the file is empty", where=where, remedy="copy it again")
    refuse_other("ONNX", data, where)
    try:
        model = onnx.ModelProto.FromString(data)
    except DecodeError:
        raise ModelImportError(
            "the file is truncated or no ONNX model",
            where=where,
            rule="an ONNX file is one complete protobuf message",
            remedy="copy or export the model again",
        ) from None
    if not model.HasField("graph") or model.ir_version < 1:
        raise ModelImportError(
            "the file is a protobuf message but no ONNX model (a TensorFlow graph?)",
            where=where,
            rule="an ONNX model has ir_version and graph",
            remedy="TensorFlow: call load_tensorflow, or name it .pb",
        )
    if model.ir_version > onnx.IR_VERSION:
        raise ModelImportError(
            f"IR version {model.ir_version} is too new",
            where=where,
            rule=f"the installed onnx {onnx.__version__} knows up to {onnx.IR_VERSION}",
            remedy="python -m pip install -U onnx, or export with an older IR version",
        )
    opset = _checked_opset(model, where)
    for part in (model.graph, *model.functions):
        _check_names(part, where)
    if model.functions:
        model = inlined(model, where)
    if not model.graph.node:
        raise ModelImportError("the graph has no nodes", where=where, rule="at least one node")
    if not model.graph.output:
        raise ModelImportError("the graph has no outputs", where=where, rule="at least one output")
    producer = f"{model.producer_name} {model.producer_version}".strip() or "unknown"
    detail = f"opset {opset}, ir {model.ir_version}, producer {producer}"
    return model, Source(framework="onnx", path=where, sha256=sha256_of(data), detail=detail)


def inputs_of(path: Path) -> list[str]:
    """Return a line for every input, with sizes as far as the file says them."""
    model, _ = read_model(path)
    return listed(model.graph)


def _check_names(part: onnx.GraphProto | onnx.FunctionProto, where: str) -> None:
    """Refuse names of operators and attributes that are no text; one domain has one name."""
    for node in part.node:
        if node.domain == "ai.onnx":  # the onnx package knows the standard operators by "" only
            node.domain = ""
        words = [node.op_type, node.domain, *(attribute.name for attribute in node.attribute)]
        odd = [word for word in words if not isinstance(word, str)]
        if odd:
            raise ModelImportError(
                f"node {node_name(node)!r}: {odd[0]!r} is no text",
                where=where,
                rule="operators, domains and attributes have names in UTF-8",
                remedy="the file is damaged; copy or export it again",
            )
        for inner in graphs_of(node):
            _check_names(inner, where)


def _checked_opset(model: onnx.ModelProto, where: str) -> int:
    functions = (entry for function in model.functions for entry in function.opset_import)
    for entry in (*model.opset_import, *functions):
        if not isinstance(entry.domain, str):  # protobuf gives bytes where a text is no UTF-8
            raise ModelImportError(
                f"the domain {entry.domain!r} of operators is no text",
                where=where,
                rule="operators, domains and attributes have names in UTF-8",
                remedy="the file is damaged; copy or export it again",
            )
        if not 0 <= entry.version < 1 << 31:
            raise ModelImportError(
                f"version {entry.version} of the operators of domain {entry.domain!r}",
                where=where,
                rule="a version is a whole number of 31 bits, not negative",
                remedy="the file is damaged; copy or export it again",
            )
    versions = [o.version for o in model.opset_import if o.domain in STANDARD_DOMAINS]
    if not versions and all(n.domain not in STANDARD_DOMAINS for n in model.graph.node):
        return 0  # every node is of another domain and will be reported
    if not versions:
        raise ModelImportError(
            "the model names no version of the standard operators",
            where=where,
            rule="opset_import has an entry for the default domain",
            remedy="the file may be truncated; export it again",
        )
    opset = int(max(versions))
    newest = onnx.defs.onnx_opset_version()
    if opset > newest:
        raise ModelImportError(
            f"opset {opset} is too new",
            where=where,
            rule=f"the installed onnx {onnx.__version__} knows up to opset {newest}",
            remedy=f"python -m pip install -U onnx, or export with opset_version={newest} or lower",
        )
    if opset < OLDEST_OPSET:
        raise ModelImportError(
            f"opset {opset} is too old",
            where=where,
            rule=f"opset {OLDEST_OPSET} or newer",
            remedy="upgrade the model with onnx.version_converter.convert_version(model, 13)",
        )
    return opset


def opsets_of(model: onnx.ModelProto) -> dict[str, int]:
    """Return domain -> opset version, the standard domain as ''."""
    return {"" if o.domain in STANDARD_DOMAINS else o.domain: o.version for o in model.opset_import}


def refuse_sparse(model: onnx.ModelProto, where: str) -> None:
    """Refuse sparse initializers, all named."""
    names = [s.values.name for s in model.graph.sparse_initializer]
    if names:
        raise UnsupportedOpError(
            f"sparse weights: {', '.join(map(repr, names))}",
            where=where,
            rule="weights are dense tensors",
            remedy="export the model with dense weights",
        )

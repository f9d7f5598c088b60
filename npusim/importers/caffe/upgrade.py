"""Older forms of network descriptions (``layers``, V1 and V0) as layers of the present form."""

from collections.abc import Mapping, Sequence

from npusim.errors import ModelImportError
from npusim.importers.caffe.schema import Record

_V1_TYPES = {
    "ABSVAL": "AbsVal",
    "ARGMAX": "ArgMax",
    "BNLL": "BNLL",
    "LRN": "LRN",
    "MVN": "MVN",
    "RELU": "ReLU",
    "SOFTMAX_LOSS": "SoftmaxWithLoss",
    "TANH": "TanH",
    "HDF5_DATA": "HDF5Data",
    "HDF5_OUTPUT": "HDF5Output",
}
# words of the oldest form that are not the type's own words in lower case
_V0_TYPES = {
    "bnll": "BNLL",
    "conv": "Convolution",
    "hdf5_data": "HDF5Data",
    "hdf5_output": "HDF5Output",
    "images": "ImageData",
    "innerproduct": "InnerProduct",
    "lrn": "LRN",
    "pool": "Pooling",
    "relu": "ReLU",
    "softmax_loss": "SoftmaxWithLoss",
    "tanh": "TanH",
}
_V0_WORDS = frozenset(_V0_TYPES).union(
    ("accuracy", "concat", "data", "dropout", "euclidean_loss", "flatten", "im2col"),
    ("infogain_loss", "multinomial_logistic_loss", "sigmoid", "softmax", "split", "window_data"),
)
_KERNEL = {"pad": "pad", "kernelsize": "kernel_size", "stride": "stride"}
_FILTER = {
    "num_output": "num_output",
    "biasterm": "bias_term",
    "weight_filler": "weight_filler",
    "bias_filler": "bias_filler",
}
# type -> parameter message and its fields by their V0 names
_V0_FIELDS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "conv": ("convolution_param", {**_FILTER, **_KERNEL, "group": "group"}),
    "im2col": ("convolution_param", _KERNEL),
    "innerproduct": ("inner_product_param", _FILTER),
    "pool": ("pooling_param", {**_KERNEL, "pool": "pool"}),
    "dropout": ("dropout_param", {"dropout_ratio": "dropout_ratio"}),
    "lrn": (
        "lrn_param",
        {"local_size": "local_size", "alpha": "alpha", "beta": "beta", "k": "k"},
    ),
    "concat": ("concat_param", {"concat_dim": "concat_dim"}),
}


def upgraded(net: Record) -> tuple[Record, ...]:
    """Return the layers of a network in the present form.

    Raises
    ------
    ModelImportError
        When old and new forms are mixed, or a type is not known; names the layer.
    """
    old, new = net.records("layers"), net.records("layer")
    if old and new:
        inner = old[0].record("layer") if old[0].has("layer") else old[0]
        raise ModelImportError(
            "'layers' and 'layer' are mixed",
            where=f"{net.where}: line {old[0].line}: layer {inner.text('name')!r} "
            f"({inner.text('type')})",
            rule="one form in a file; Caffe refuses both together",
            remedy='write it as layer { type: "ReLU" .. }',
        )
    if not old:
        return new
    if any(layer.has("layer") for layer in old):
        return _without_padding([_from_v0(layer) for layer in old])
    return tuple(map(_from_v1, old))


def _joined(word: str) -> str:
    return "".join(part.capitalize() for part in word.split("_"))


def _from_v1(layer: Record) -> Record:
    word = layer.text("type", "NONE")
    name = _V1_TYPES.get(word) or _joined(word)
    values = dict(layer.values)
    values["type"] = [name]
    shared = values.pop("param", [])
    values["param"] = [
        Record("Param", layer.where, layer.line, {"name": [name]} if name else {})
        for name in shared
    ]
    return Record("Layer", layer.where, layer.line, values)


def _from_v0(connection: Record) -> Record:
    inner = connection.record("layer")
    word = inner.text("type")
    if word not in _V0_WORDS and word != "padding":
        raise ModelImportError(
            f"there is no layer type {word!r}",
            where=f"{connection.where}: line {connection.line}: layer {inner.text('name')!r}",
            rule=f"types of the oldest form: {', '.join(sorted(_V0_WORDS))}, padding",
        )
    values: dict[str, list[object]] = {
        "name": [inner.text("name")],
        "type": [word if word == "padding" else _V0_TYPES.get(word) or _joined(word)],
        "bottom": list(connection.texts("bottom")),
        "top": list(connection.texts("top")),
    }
    if word in _V0_FIELDS:
        message, fields = _V0_FIELDS[word]
        found = {ours: inner.values[theirs] for theirs, ours in fields.items() if inner.has(theirs)}
        values[message] = [Record(message, inner.where, inner.line, found)]
    if word == "padding":
        values["pad"] = [inner.whole("pad")]
    return Record("Layer", connection.where, connection.line, values)


def _without_padding(layers: Sequence[Record]) -> tuple[Record, ...]:
    """Put padding layers into the convolutions and poolings that read them."""
    pads: dict[str, tuple[str, int]] = {}
    kept = []
    for layer in layers:
        if layer.text("type") == "padding":
            pads[layer.text("top")] = (layer.text("bottom"), layer.whole("pad"))
            continue
        for index, bottom in enumerate(layer.texts("bottom")):
            if bottom not in pads:
                continue
            message = {"Convolution": "convolution_param", "Pooling": "pooling_param"}.get(
                layer.text("type")
            )
            if message is None:
                raise ModelImportError(
                    f"it reads the padding layer {bottom!r}",
                    where=f"{layer.where}: line {layer.line}: layer {layer.text('name')!r}",
                    rule="padding layers stand before convolutions and poolings",
                )
            source, pad = pads[bottom]
            layer.values["bottom"][index] = source
            parameters = layer.record(message)
            parameters.values["pad"] = [pad]
            layer.values[message] = [parameters]
        kept.append(layer)
    return tuple(kept)

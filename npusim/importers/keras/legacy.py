"""Layers of Keras 1 under their later names."""

from collections.abc import Mapping
from typing import Any

_CLASSES = {
    "Convolution1D": "Conv1D",
    "Convolution2D": "Conv2D",
    "AtrousConvolution2D": "Conv2D",
    "SeparableConvolution2D": "SeparableConv2D",
    "Deconvolution2D": "Conv2DTranspose",
    "Convolution2DTranspose": "Conv2DTranspose",
    "BatchNormalizationV1": "BatchNormalization",
    "BatchNormalizationV2": "BatchNormalization",
    "SyncBatchNormalization": "BatchNormalization",
    "MaxPool1D": "MaxPooling1D",
    "MaxPool2D": "MaxPooling2D",
    "AvgPool1D": "AveragePooling1D",
    "AvgPool2D": "AveragePooling2D",
    "GlobalAvgPool1D": "GlobalAveragePooling1D",
    "GlobalAvgPool2D": "GlobalAveragePooling2D",
    "GlobalMaxPool1D": "GlobalMaxPooling1D",
    "GlobalMaxPool2D": "GlobalMaxPooling2D",
}
_KEYS = {
    "nb_filter": "filters",
    "output_dim": "units",
    "border_mode": "padding",
    "subsample": "strides",
    "subsample_length": "strides",
    "atrous_rate": "dilation_rate",
    "filter_length": "kernel_size",
    "pool_length": "pool_size",
    "stride": "strides",
    "inner_activation": "recurrent_activation",
    "bias": "use_bias",
    "p": "rate",
}
_MERGES = {
    "sum": "Add",
    "mul": "Multiply",
    "ave": "Average",
    "max": "Maximum",
    "concat": "Concatenate",
}


def upgraded(item: Mapping[str, Any], era: int) -> dict[str, Any]:
    """Return the record of a layer with today's class and words; nested records are left."""
    record = dict(item)
    kind = str(record.get("class_name", "")).rpartition(">")[2]
    record["class_name"] = _CLASSES.get(kind, kind)
    config = record.get("config")
    if era > 1 or not isinstance(config, Mapping):
        return record
    config = dict(config)
    for old, new in _KEYS.items():
        if (
            old in config
            and new not in config
            and not (old == "output_dim" and kind == "Embedding")
        ):
            config[new] = config.pop(old)
    if "nb_row" in config and "nb_col" in config:
        config["kernel_size"] = [config.pop("nb_row"), config.pop("nb_col")]
    if "dim_ordering" in config:
        last = config.pop("dim_ordering") in ("tf", "default")
        config["data_format"] = "channels_last" if last else "channels_first"
    if kind == "Merge":
        record["class_name"] = _MERGES.get(str(config.get("mode")), "Merge")
        config["axis"] = config.get("concat_axis", -1)
    record["config"] = config
    return record

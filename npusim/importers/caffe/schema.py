"""The fields of Caffe's network description: what each message holds, and how it is read.

Names and kinds are facts of the file format (BVLC, the SSD branch, NVIDIA's branch and common
private layers). ``i`` whole number, ``f`` real, ``b`` truth value, ``s`` text, a capital word is a
message or one of the words of ``WORDS``; ``*`` marks fields that may be given several times.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from npusim.errors import ModelImportError
from npusim.importers.caffe.text import Block, Entry

_FILLER = "weight_filler:Filler bias_filler:Filler"
_KERNEL_HW = "kernel_h:i kernel_w:i stride_h:i stride_w:i pad_h:i pad_w:i"
_SPATIAL = f"kernel_size:i* stride:i* pad:i* {_KERNEL_HW}"
_DATA = "source:s backend:s batch_size:i crop_size:i scale:f mean_file:s mirror:b rand_skip:i"
_SOURCES = dict.fromkeys(
    (
        "DataParameter",
        "DummyDataParameter",
        "HDF5DataParameter",
        "HDF5OutputParameter",
        "ImageDataParameter",
        "MemoryDataParameter",
        "WindowDataParameter",
    ),
    f"{_DATA} data_filler:Filler* shape:BlobShape* num:i* channels:i* height:i* width:i* "
    "new_height:i new_width:i shuffle:b is_color:b root_folder:s file_name:s prefetch:i "
    "force_encoded_color:b cache:b threads:b parser_threads:b fg_threshold:f bg_threshold:f "
    "fg_fraction:f context_pad:i crop_mode:s cache_images:b",
)
_LAYER_PARAMETERS = {
    "argmax_param": "out_max_val:b top_k:i axis:i",
    "batch_norm_param": "use_global_stats:b moving_average_fraction:f eps:f scale_bias:b "
    "scale_filler:Filler bias_filler:Filler",
    "bias_param": "axis:i num_axes:i filler:Filler",
    "bn_param": "slope_filler:Filler bias_filler:Filler scale_filler:Filler shift_filler:Filler "
    "momentum:f eps:f frozen:b bn_mode:s moving_average:b icnet:b",
    "clip_param": "min:f max:f",
    "concat_param": "axis:i concat_dim:i",
    "convolution_param": f"num_output:i bias_term:b group:i dilation:i* engine:s axis:i "
    f"force_nd_im2col:b {_FILLER} {_SPATIAL}",
    "crop_param": "axis:i offset:i*",
    "detection_output_param": "num_classes:i share_location:b background_label_id:i "
    "nms_param:Nms code_type:s variance_encoded_in_target:b keep_top_k:i confidence_threshold:f "
    "save_output_param:Any visualize:b visualize_threshold:f save_file:s objectness_score:f",
    "dropout_param": "dropout_ratio:f scale_train:b",
    "eltwise_param": "operation:EltwiseOp coeff:f* stable_prod_grad:b",
    "elu_param": "alpha:f",
    "embed_param": f"num_output:i input_dim:i bias_term:b {_FILLER}",
    "exp_param": "base:f scale:f shift:f",
    "flatten_param": "axis:i end_axis:i",
    "hardswish_param": "shift:f scale:f",
    "inner_product_param": f"num_output:i bias_term:b axis:i transpose:b {_FILLER}",
    "input_param": "shape:BlobShape*",
    "interp_param": "height:i width:i zoom_factor:i shrink_factor:i pad_beg:i pad_end:i",
    "log_param": "base:f scale:f shift:f",
    "lrn_param": "local_size:i alpha:f beta:f norm_region:NormRegion k:f engine:s",
    "mvn_param": "normalize_variance:b across_channels:b eps:f",
    "norm_param": "across_spatial:b scale_filler:Filler channel_shared:b eps:f",
    "parameter_param": "shape:BlobShape",
    "permute_param": "order:i*",
    "pooling_param": "pool:PoolMethod kernel_size:i stride:i pad:i global_pooling:b engine:s "
    f"round_mode:RoundMode ceil_mode:b {_KERNEL_HW}",
    "power_param": "power:f scale:f shift:f",
    "prelu_param": "filler:Filler channel_shared:b",
    "prior_box_param": "min_size:f* max_size:f* aspect_ratio:f* flip:b clip:b variance:f* "
    "img_size:i img_h:i img_w:i step:f step_h:f step_w:f offset:f",
    "proposal_param": "feat_stride:i base_size:i min_size:i ratio:f* scale:f* pre_nms_topn:i "
    "post_nms_topn:i nms_thresh:f",
    "python_param": "module:s layer:s param_str:s share_in_parallel:b",
    "recurrent_param": f"num_output:i debug_info:b expose_hidden:b {_FILLER}",
    "reduction_param": "operation:ReductionOp axis:i coeff:f",
    "relu6_param": "threshold:f negative_slope:f",
    "relu_param": "negative_slope:f engine:s",
    "reorg_param": "stride:i reverse:b",
    "reshape_param": "shape:BlobShape axis:i num_axes:i",
    "roi_pooling_param": "pooled_h:i pooled_w:i spatial_scale:f",
    "psroi_pooling_param": "spatial_scale:f output_dim:i group_size:i",
    "scale_param": "axis:i num_axes:i bias_term:b filler:Filler bias_filler:Filler",
    "shuffle_channel_param": "group:i",
    "sigmoid_param": "engine:s",
    "slice_param": "axis:i slice_dim:i slice_point:i*",
    "softmax_param": "axis:i engine:s",
    "spp_param": "pyramid_height:i pool:PoolMethod engine:s",
    "swish_param": "beta:f",
    "tanh_param": "engine:s",
    "threshold_param": "threshold:f",
    "tile_param": "axis:i tiles:i",
    "upsample_param": "scale:i scale_h:i scale_w:i pad_out_h:b pad_out_w:b upsample_h:i "
    "upsample_w:i",
}
_IGNORED_PARAMETERS = (
    "transform_param loss_param accuracy_param contrastive_loss_param hinge_loss_param "
    "infogain_loss_param annotated_data_param multibox_loss_param detection_evaluate_param "
    "video_data_param smooth_l1_loss_param focal_loss_param"
)
_SOURCE_FIELDS = {
    "data_param": "DataParameter",
    "dummy_data_param": "DummyDataParameter",
    "hdf5_data_param": "HDF5DataParameter",
    "hdf5_output_param": "HDF5OutputParameter",
    "image_data_param": "ImageDataParameter",
    "memory_data_param": "MemoryDataParameter",
    "window_data_param": "WindowDataParameter",
}
_PARAMETER_FIELDS = " ".join(
    [f"{name}:{name}" for name in _LAYER_PARAMETERS]
    + [f"{name}:{message}" for name, message in _SOURCE_FIELDS.items()]
    + [f"{name}:Any" for name in _IGNORED_PARAMETERS.split()]
)

MESSAGES = {
    "Net": "name:s input:s* input_dim:i* input_shape:BlobShape* state:State force_backward:b "
    "debug_info:b layer:Layer* layers:V1Layer* profile_info:b profile_iter:i profile_warmup:i "
    "quantize:b reduce_memory:b default_forward_type:s default_backward_type:s",
    "State": "phase:Phase level:i stage:s*",
    "StateRule": "phase:Phase min_level:i max_level:i stage:s* not_stage:s*",
    "Layer": "name:s type:s bottom:s* top:s* loss_weight:f* param:Param* blobs:Any* "
    "include:StateRule* exclude:StateRule* phase:Phase propagate_down:b* "
    f"forward_type:s backward_type:s forward_math:s backward_math:s {_PARAMETER_FIELDS}",
    "V1Layer": "name:s type:V1Type bottom:s* top:s* layer:V0Layer blobs:Any* blobs_lr:f* "
    "weight_decay:f* param:s* blob_share_mode:s* include:StateRule* exclude:StateRule* "
    f"loss_weight:f* {_PARAMETER_FIELDS}",
    "V0Layer": "name:s type:s num_output:i biasterm:b weight_filler:Filler bias_filler:Filler "
    "pad:i kernelsize:i group:i stride:i pool:PoolMethod dropout_ratio:f local_size:i alpha:f "
    "beta:f k:f source:s scale:f meanfile:s batchsize:i cropsize:i mirror:b blobs:Any* "
    "blobs_lr:f* weight_decay:f* rand_skip:i det_fg_threshold:f det_bg_threshold:f "
    "det_fg_fraction:f det_context_pad:i det_crop_mode:s new_num:i new_channels:i new_height:i "
    "new_width:i shuffle_images:b concat_dim:i hdf5_output_param:Any",
    "Param": "name:s lr_mult:f decay_mult:f share_mode:s",
    "BlobShape": "dim:i*",
    "Filler": "type:s value:f min:f max:f mean:f std:f sparse:i variance_norm:s",
    "Nms": "nms_threshold:f top_k:i eta:f",
    **_LAYER_PARAMETERS,
    **_SOURCES,
}
_V1_WORDS = """
NONE ACCURACY BNLL CONCAT CONVOLUTION DATA DROPOUT EUCLIDEAN_LOSS FLATTEN HDF5_DATA HDF5_OUTPUT
IM2COL IMAGE_DATA INFOGAIN_LOSS INNER_PRODUCT LRN MULTINOMIAL_LOGISTIC_LOSS POOLING RELU SIGMOID
SOFTMAX SOFTMAX_LOSS SPLIT TANH WINDOW_DATA ELTWISE POWER SIGMOID_CROSS_ENTROPY_LOSS HINGE_LOSS
MEMORY_DATA ARGMAX THRESHOLD DUMMY_DATA SLICE MVN ABSVAL SILENCE CONTRASTIVE_LOSS EXP DECONVOLUTION
"""
WORDS: dict[str, tuple[str, ...]] = {
    "Phase": ("TRAIN", "TEST"),
    "PoolMethod": ("MAX", "AVE", "STOCHASTIC"),
    "RoundMode": ("CEIL", "FLOOR"),
    "EltwiseOp": ("PROD", "SUM", "MAX"),
    "NormRegion": ("ACROSS_CHANNELS", "WITHIN_CHANNEL"),
    "ReductionOp": ("", "SUM", "ASUM", "SUMSQ", "MEAN"),
    "V1Type": tuple(_V1_WORDS.split()),
}
"""Words of the enumerations, in the order of their numbers."""


def _compiled() -> dict[str, dict[str, tuple[str, bool]]]:
    table = {}
    for message, text in MESSAGES.items():
        parts = (word.partition(":") for word in text.split())
        table[message] = {n: (kind.rstrip("*"), kind.endswith("*")) for n, _, kind in parts}
    return table


FIELDS: Mapping[str, Mapping[str, tuple[str, bool]]] = _compiled()
"""Message -> field -> (kind, whether it may be given several times)."""


@dataclass(slots=True)
class Record:
    """A message: the values of its fields in the order given."""

    message: str
    where: str
    line: int
    values: dict[str, list[object]] = field(default_factory=dict)

    def has(self, name: str) -> bool:
        """Tell whether a field is given."""
        return name in self.values

    def _last(self, name: str, default: object) -> object:
        given = self.values.get(name)
        return given[-1] if given else default

    def whole(self, name: str, default: int = 0) -> int:
        """Return a whole number."""
        return int(self._last(name, default))  # type: ignore[call-overload, no-any-return]

    def real(self, name: str, default: float = 0.0) -> float:
        """Return a real number."""
        return float(self._last(name, default))  # type: ignore[arg-type]

    def flag(self, name: str, default: bool = False) -> bool:
        """Return a truth value."""
        return bool(self._last(name, default))

    def text(self, name: str, default: str = "") -> str:
        """Return a text or the word of an enumeration."""
        return str(self._last(name, default))

    def wholes(self, name: str) -> tuple[int, ...]:
        """Return all whole numbers of a field."""
        return tuple(int(v) for v in self.values.get(name, ()))  # type: ignore[call-overload]

    def reals(self, name: str) -> tuple[float, ...]:
        """Return all real numbers of a field."""
        return tuple(float(v) for v in self.values.get(name, ()))  # type: ignore[arg-type]

    def texts(self, name: str) -> tuple[str, ...]:
        """Return all texts of a field."""
        return tuple(str(v) for v in self.values.get(name, ()))

    def records(self, name: str) -> tuple["Record", ...]:
        """Return all messages of a field."""
        return tuple(v for v in self.values.get(name, ()) if isinstance(v, Record))

    def record(self, name: str) -> "Record":
        """Return a message; one without fields when it is not given."""
        found = self.records(name)
        return found[-1] if found else Record(name, self.where, self.line)


def read_record(block: Block, message: str, where: str, unknown: list[str]) -> Record:
    """Return a block as a message.

    Parameters
    ----------
    where : str
        The file.
    unknown : list of str
        Collects ``'name' (line n)`` of fields that are not known.

    Raises
    ------
    ModelImportError
        For values of another kind and single fields given twice; names the line.
    """
    fields = FIELDS[message]
    record = Record(message, where, block.line)
    for entry in block.entries:
        if entry.name not in fields:
            unknown.append(f"{entry.name!r} (line {entry.line})")
            continue
        kind, several = fields[entry.name]
        given = record.values.setdefault(entry.name, [])
        if given and not several:
            raise _wrong(entry, where, f"{entry.name!r} is given twice", "one value")
        given.append(_value(entry, kind, where, unknown))
    return record


def _wrong(entry: Entry, where: str, what: str, rule: str) -> ModelImportError:
    return ModelImportError(what, where=f"{where}: line {entry.line}", rule=rule)


def _value(entry: Entry, kind: str, where: str, unknown: list[str]) -> object:
    value = entry.value
    if kind == "Any":
        return None
    if kind in FIELDS:
        if not isinstance(value, Block):
            raise _wrong(entry, where, f"{entry.name!r} is {value!r}", "a block { .. }")
        return read_record(value, kind, where, unknown)
    if isinstance(value, Block):
        raise _wrong(entry, where, f"{entry.name!r} is a block", "a single value")
    try:
        if kind == "s":
            return value
        if kind in WORDS:
            return _word(value, WORDS[kind])
        if entry.quoted:
            raise ValueError
        return _NUMBERS[kind](value)
    except (ValueError, IndexError, OverflowError):
        rule = {"i": "a whole number", "f": "a number", "b": "true or false"}.get(
            kind, f"one of {', '.join(filter(None, WORDS.get(kind, ())))}"
        )
        raise _wrong(entry, where, f"{entry.name!r} is {value!r}", rule) from None


def _word(text: str, words: tuple[str, ...]) -> str:
    if text and text in words:
        return text
    return words[int(text)]


def _whole(text: str) -> int:
    digits = text.lstrip("+-").lower()
    base = 16 if digits.startswith("0x") else 8 if len(digits) > 1 and digits[0] == "0" else 10
    number = int(text, base)
    if abs(number) >= 1 << 63:
        raise OverflowError
    return number


def _real(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        if text.lower().endswith("f") and not math.isnan(float(text[:-1])):
            return float(text[:-1])
        raise


def _truth(text: str) -> bool:
    words = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}
    if text.lower() not in words:
        raise ValueError
    return words[text.lower()]


_NUMBERS = {"i": _whole, "f": _real, "b": _truth}

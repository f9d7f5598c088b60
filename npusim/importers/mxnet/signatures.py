"""Inputs and outputs of the framework's operators, and what learned inputs are called."""

from npusim.importers.common.whole import result_count
from npusim.importers.mxnet.attributes import Attributes

_MADE_FOR_MXNET = (
    "_contrib_quantize",
    "_contrib_requantize",
    "_contrib_dequantize",
    "_contrib_calibrate",
    "_sg_",
    "_TensorRT",
    "_FusedOp",
)

LEARNED = {
    **dict.fromkeys(
        ("Convolution", "Convolution_v1", "Deconvolution", "FullyConnected"),
        ("data", "weight", "bias"),
    ),
    **dict.fromkeys(
        ("BatchNorm", "BatchNorm_v1", "CuDNNBatchNorm", "_contrib_SyncBatchNorm"),
        ("data", "gamma", "beta", "moving_mean", "moving_var"),
    ),
    **dict.fromkeys(("InstanceNorm", "LayerNorm", "GroupNorm"), ("data", "gamma", "beta")),
    "Embedding": ("data", "weight"),
    "_contrib_SparseEmbedding": ("data", "weight"),
}
"""Operator -> names of its inputs, where some are learned."""

WITH_LABEL = frozenset(
    (
        *("SoftmaxOutput", "Softmax", "SVMOutput", "MakeLoss"),
        *("LogisticRegressionOutput", "LinearRegressionOutput", "MAERegressionOutput"),
    )
)
"""Ends of training networks; at inference their labels vanish."""


def is_made_for_mxnet(kind: str) -> bool:
    """Tell whether an operator is of networks that the framework quantized or fused."""
    return kind.startswith(_MADE_FOR_MXNET)


def arguments_of(kind: str, attributes: Attributes) -> tuple[tuple[str, ...], int]:
    """Return the names of all inputs, as far as they are known, and how many count (0: all)."""
    if kind in WITH_LABEL:
        return (), 1
    if kind == "LeakyReLU":
        learned = attributes.text("act_type", "leaky") == "prelu"
        return (("data", "gamma") if learned else ("data",)), 0
    if kind == "UpSampling":
        bilinear = attributes.text("sample_type") == "bilinear"
        return (("data", "weight") if bilinear else ()), 0
    names = LEARNED.get(kind, ())
    if names[-1:] == ("bias",) and attributes.flag("no_bias", kind == "Deconvolution"):
        names = names[:-1]
    return names, len(names)


_NUMBERED = (
    *("SliceChannel", "split", "sort", "moments"),
    *("_contrib_box_nms", "_contrib_box_non_maximum_suppression"),
)
"""Operators whose results have numbers even where there is one: they have more in training."""


def output_names(kind: str, attributes: Attributes) -> tuple[str, ...]:
    """Return what the results of an operator are called behind its name."""
    count = result_count(outputs_of(kind, attributes), attributes.where)
    if kind == "make_loss":
        return ("loss",)
    if kind == "_contrib_Proposal":
        return ("output", "score")[:count]
    numbered = kind in _NUMBERED or (kind == "topk" and attributes.text("ret_typ") == "value")
    if count == 1 and not numbered:
        return ("output",)
    return tuple(f"output{index}" for index in range(count))


def outputs_of(kind: str, attributes: Attributes) -> int:
    """Return how many outputs an operator has at inference that others may read."""
    if kind in ("SliceChannel", "split"):
        return max(1, attributes.whole("num_outputs", 1))
    if kind == "_split_v2":
        sections = attributes.whole("sections", 0)
        return sections or max(1, len(attributes.maybe_wholes("indices")))
    if kind == "moments":
        return 2
    if kind == "topk" and attributes.text("ret_typ", "indices") == "both":
        return 2
    if kind == "amp_multicast":
        return max(1, attributes.whole("num_outputs", 1))
    if kind in ("_contrib_Proposal", "_contrib_MultiProposal"):
        return 2 if attributes.flag("output_score") else 1
    return 1


_INDEX_OF = {"Embedding": 0, "_contrib_SparseEmbedding": 0, "take": 1, "one_hot": 0}


def picks_by_index(kind: str, inputs: tuple[str, ...], name: str) -> bool:
    """Tell whether a node reads a tensor as indices and nothing else."""
    place = _INDEX_OF.get(kind)
    return place is not None and [i for i, n in enumerate(inputs) if n == name] == [place]

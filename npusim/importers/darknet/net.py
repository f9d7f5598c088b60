"""The sections of a configuration as layers with inputs, and the program they were written for."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from npusim.errors import ModelImportError
from npusim.importers.common.layers import SourceLayer
from npusim.importers.darknet.cfg import Section

INPUT = "x"
ORIGINAL, FORK = "pjreddie", "alexeyab"
"""The original program and the YOLOv4 fork: where they differ a file follows one of them."""
CHOOSE_FORK = f"npusim.importers.darknet.importer.load_darknet(.., program={FORK!r})"
"""How a user says which: in notes and remedies."""

_FULL_NAMES = {
    "avg": "avgpool",
    "conn": "connected",
    "conv": "convolutional",
    "deconv": "deconvolutional",
    "gaussian_yolo": "Gaussian_yolo",
    "local_avg": "local_avgpool",
    "lrn": "normalization",
    "max": "maxpool",
    "silence": "empty",
    "soft": "softmax",
}
DETECTIONS = {"yolo": 4, "region": 4, "Gaussian_yolo": 8, "detection": 0}
"""Layers that decode boxes on the CPU, with the numbers of a box; the network ends before them."""

_FORK_SECTIONS = {
    "local_avgpool",
    "sam",
    "scale_channels",
    "reorg3d",
    "Gaussian_yolo",
    "conv_lstm",
    "history",
    "contrastive",
    "empty",
}
_FORK_KEYS = {
    "antialiasing",
    "cls_normalizer",
    "dilation",
    "group_id",
    "iou_loss",
    "iou_normalizer",
    "iou_thresh",
    "maxpool_depth",
    "max_delta",
    "new_coords",
    "nms_kind",
    "scale_x_y",
    "stride_x",
    "stride_y",
    "weights_normalization",
    "weights_type",
}
_FORK_NET_KEYS = {
    "cutmix",
    "letter_box",
    "loss_scale",
    "max_chart_loss",
    "mixup",
    "mosaic",
    "optimized_memory",
    "use_cuda_graph",
    "ema_alpha",
    "workspace_size_limit_MB",
}
_FORK_REVISION = 5
_FORK_ACTIVATION = re.compile("relu6|swish|(hard_)?mish|gelu|normalize_.*")


@dataclass(frozen=True, slots=True, kw_only=True)
class DarknetLayer(SourceLayer):
    """A layer with its options; ``index`` counts as Darknet does, from 0."""

    section: Section
    index: int


@dataclass(slots=True)
class Net:
    """Layers in the order of the file.

    Attributes
    ----------
    shape : tuple of int
        Of the input: (1, C, H, W), or (1, n).
    """

    where: str
    shape: tuple[int, ...]
    layers: list[DarknetLayer]

    def tensor(self, index: int) -> str:
        """Return the tensor of a layer; -1 is the input."""
        return INPUT if index < 0 else self.layers[index].outputs[0]


def read_net(sections: Sequence[Section]) -> Net:
    """Return the network of a configuration.

    Raises
    ------
    ModelImportError
        For references to layers that do not exist, and a missing input size.
    """
    head, *rest = sections
    sizes = tuple(head.whole(key) for key in ("channels", "height", "width"))
    shape = (1, *sizes) if min(sizes) > 0 else (1, head.whole("inputs"))
    if min(shape) < 1:
        raise ModelImportError(
            f"channels, height and width are {sizes}",
            where=f"{head.where}: line {head.line}: [{head.type}] (layers of it: "
            f"{', '.join(section.type[:40] for section in rest[:3])})",
            rule="[net] gives channels, height and width",
            remedy="write them into [net]",
        )
    net = Net(head.where, shape, [])
    for index, section in enumerate(rest):
        kind = _FULL_NAMES.get(section.type, section.type)
        name = f"{index}_{kind}"
        bare = DarknetLayer(
            name=name,
            type=kind,
            layer=f"{kind}_{index}",
            inputs=(),
            outputs=(name,),
            line=section.line,
            section=section,
            index=index,
        )
        sources = _sources(bare, net)
        net.layers.append(
            DarknetLayer(
                name=name,
                type=kind,
                layer=bare.layer,
                inputs=tuple(net.tensor(source) for source in sources),
                outputs=bare.outputs,
                line=section.line,
                section=section,
                index=index,
            )
        )
    if not net.layers:
        raise ModelImportError("there are no layers", where=head.where)
    return net


def _sources(layer: DarknetLayer, net: Net) -> list[int]:
    """Return the layers that a layer reads; negative numbers in the file count back from it."""
    kind, section, previous = layer.type, layer.section, layer.index - 1
    if kind == "route":
        return [_source(layer, net, n) for n in _listed(layer, "layers")]
    if kind in ("shortcut", "sam", "scale_channels"):
        return [previous, *(_source(layer, net, n) for n in _listed(layer, "from"))]
    section.asked.update(("layers", "from"))
    return [previous]


def _listed(layer: DarknetLayer, key: str) -> tuple[int, ...]:
    found = layer.section.wholes(key)
    if not found:
        raise ModelImportError(
            f"{key} is missing",
            where=f"{layer.section.where}: {layer.where}",
            rule=f"{key}= with the numbers of layers, negative ones count back",
        )
    return found


def _source(layer: DarknetLayer, net: Net, number: int) -> int:
    index = layer.index + number if number < 0 else number
    if not 0 <= index < layer.index:
        raise ModelImportError(
            f"it refers to layer {number}",
            where=f"{net.where}: {layer.where}",
            rule=f"layers 0 to {layer.index - 1}, or -1 to {-layer.index}",
        )
    return index


def is_of_the_fork(word: str) -> bool:
    """Tell whether an activation is known to the fork only."""
    return _FORK_ACTIVATION.fullmatch(word) is not None


def program_of(sections: Sequence[Section], revision: int | None) -> str:
    """Return the program that a file was written for; '' when it cannot tell.

    Source: keys, sections and activations that only the fork has; the fork's weights carry
    revision 5.
    """
    head, *rest = sections
    signs = bool(_FORK_NET_KEYS.intersection(head.options))
    for section in rest:
        kind = _FULL_NAMES.get(section.type, section.type)
        word = section.options.get("activation", "")
        signs |= kind in _FORK_SECTIONS or bool(_FORK_KEYS.intersection(section.options))
        signs |= is_of_the_fork(word)
        signs |= kind == "route" and "groups" in section.options
        signs |= kind == "shortcut" and "," in section.options.get("from", "")
    return FORK if signs or revision == _FORK_REVISION else ""

"""OpenCV's dnn module, unfused; runs in a process of its own."""

from typing import Any

from npusim.foreign.side import Refused, imported, in_a_line
from npusim.foreign.wire import Array

_ACTIVATIONS = ("ReLU", "ReLU6", "ELU", "Sigmoid", "TanH", "Swish", "Mish", "HardSwish")


def version() -> str:
    """Return the runtime's version."""
    return str(imported("cv2").__version__)


def ran(
    model: str, weights: str, feeds: dict[str, Array], wanted: list[str], darknet: bool
) -> dict[str, list[Array]]:
    """Return what layers of a Caffe or Darknet file give.

    Parameters
    ----------
    model, weights : str
        Both files.
    feeds : dict
        Input -> N, C, H, W in float32; a Darknet file has one input.
    wanted : list of str
        Layers of the file; in a Darknet file numbers of sections.
    darknet : bool

    Raises
    ------
    Refused
        When OpenCV cannot read or run the model.
    """
    cv2 = imported("cv2")
    try:
        read = cv2.dnn.readNetFromDarknet if darknet else cv2.dnn.readNetFromCaffe
        net = read(model, weights)
        net.setPreferableBackend(cv2.dnn.DNN_BACKEND_OPENCV)
        net.enableFusion(False)
        for name, value in feeds.items():
            net.setInput(value, "" if darknet else name)
        known = _sections(net) if darknet else {name: name for name in net.getLayerNames()}
        layers = {name: known[name] for name in wanted if name in known}
        found = net.forwardAndRetrieve(list(layers.values())) if layers else []
    except (cv2.error, AttributeError) as error:  # OpenCV 5 has no reader of these formats
        raise Refused(in_a_line(error)) from error
    return {name: list(values) for name, values in zip(layers, found, strict=True)}


def _sections(net: Any) -> dict[str, str]:
    """Return section of a cfg -> OpenCV's last layer for it.

    Section 7 becomes ``conv_7``, ``bn_7`` and, counted one further, ``leaky_8``.
    """
    found: dict[str, str] = {}
    section = ""
    for name in net.getLayerNames():
        if net.getLayer(name).type not in _ACTIVATIONS:
            section = name.rpartition("_")[2]
        found[section] = name
    return found

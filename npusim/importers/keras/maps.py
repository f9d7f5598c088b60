"""Inputs of layers with a window: one with one spatial axis is a map of one row."""

from npusim.importers.common.orders import NCHW, NHWC
from npusim.importers.keras.context import KerasContext, KerasNode, needs_rank, one_input


class FeatureMap:
    """The input of a layer as a map.

    Attributes
    ----------
    one : bool
        Whether the layer has one spatial axis.
    source : str
        The map, of four axes.
    order : tuple of int
        Its axes N, C, H, W.
    channels : int
    sizes : tuple of int
        Height and width.
    """

    def __init__(self, node: KerasNode, context: KerasContext) -> None:
        self.node, self.context = node, context
        self.one = "1D" in node.type
        source = one_input(node)
        needs_rank(node, context, source, 3 if self.one else 4)
        self.order = NHWC if context.channels_last(node, source) else NCHW
        if self.one:
            shape = context.shape(source)
            at = self.order[2]
            source = context.reshape(node, source, (*shape[:at], 1, *shape[at:]), part="row")
        self.source = source
        shape = context.shape(source)
        self.channels = shape[self.order[1]]
        self.sizes = (shape[self.order[2]], shape[self.order[3]])

    def across(self, pair: tuple[int, int]) -> tuple[int, int]:
        """Return a setting down and across; of one axis, 1 down."""
        return (1, pair[1]) if self.one else pair

    def back(self, made: str, *, part: str = "") -> str:
        """Give a result of one row its three axes again."""
        if not self.one:
            return made
        shape = self.context.shape(made)
        at = self.order[2]
        return self.context.reshape(self.node, made, (*shape[:at], *shape[at + 1 :]), part=part)

"""What lowering knows around a layer: shapes, types, neighbours."""

from dataclasses import dataclass
from math import prod
from typing import TypeVar

from npusim.errors import GraphError
from npusim.ir.attrs import Attrs
from npusim.ir.dtypes import DType
from npusim.ir.tensor import Shape
from npusim.perfmodel.network import VIEW_OPS, Layer, Network

AttrsKind = TypeVar("AttrsKind", bound=Attrs)


@dataclass(frozen=True, slots=True)
class Context:
    """Neighbours that decide how a layer is lowered."""

    network: Network
    producers: dict[str, Layer]
    consumers: dict[str, list[Layer]]

    def shape(self, name: str) -> Shape:
        """Return the shape of an activation as N, C, H, W."""
        return nchw(self.network.shapes[name])

    def dtype(self, name: str) -> DType:
        """Return the type of an activation."""
        return self.network.dtypes[name]


def nchw(shape: Shape) -> Shape:
    """Return a shape with four axes: the second is channels, all after the third are one."""
    if len(shape) >= 4:
        return (shape[0], shape[1], shape[2], prod(shape[3:]))
    if len(shape) == 3:
        return (shape[0], shape[1], 1, shape[2])
    return (*shape, *(1,) * (4 - len(shape)))


def attrs_of(layer: Layer, kind: type[AttrsKind]) -> AttrsKind:
    """Return a layer's attributes, which must be of the kind its operator has."""
    if not isinstance(layer.attrs, kind):
        raise GraphError(
            f"{layer.op} has {type(layer.attrs).__name__}",
            where=f"layer {layer.name!r}",
            rule=f"its attributes are {kind.__name__}",
        )
    return layer.attrs


def size_bytes(context: Context, names: tuple[str, ...]) -> int:
    """Return the bytes of activations for one image."""
    return sum(prod(context.shape(name)[1:]) * context.dtype(name).itemsize for name in names)


def hidden(context: Context, name: str) -> bool:
    """Tell whether an activation is a result of its own that stays on the chip's side.

    Graph inputs and outputs, and views of another tensor, are not.
    """
    producer = context.producers.get(name)
    return (
        producer is not None
        and producer.op not in (*VIEW_OPS, "split", "slice")
        and name not in context.network.outputs
    )

"""What a converter of a vendor layer works with."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npusim.errors import ContainerError
from npusim.importers.common.builder import GraphBuilder
from npusim.importers.vendor.network import Stored, VendorLayer
from npusim.ir.attrs import NO_ATTRS, Attrs, ReshapeAttrs
from npusim.ir.dtypes import DType
from npusim.ir.quant import Affine, DynamicFixedPoint, Float, Quant
from npusim.ir.tensor import Shape

Array = NDArray[Any]
Convert = Callable[[VendorLayer, "VendorContext"], None]


@dataclass(slots=True)
class VendorContext:
    """The import in progress.

    Attributes
    ----------
    known : mapping
        Constants of the file: (array, number format).
    aliases : dict
        Tensor -> the tensor or constant that holds it.
    uids : dict
        Layer name -> its number in the file; layers that are added here have none.
    """

    builder: GraphBuilder
    known: Mapping[str, tuple[Array, Stored]]
    aliases: dict[str, str] = field(default_factory=dict)
    uids: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def name(self, tensor: str) -> str:
        """Return the tensor that holds another."""
        return self.aliases.get(tensor, tensor)

    def value(self, tensor: str) -> Array | None:
        """Return the stored numbers of a constant; None for an activation."""
        found = self.known.get(self.name(tensor))
        return None if found is None else found[0]

    def shape(self, tensor: str) -> Shape:
        """Return the shape of a tensor."""
        value = self.value(tensor)
        return self.builder.tensors[self.name(tensor)].shape if value is None else value.shape

    def quant(self, tensor: str) -> Quant:
        """Return how a tensor's numbers stand for real ones."""
        found = self.known.get(self.name(tensor))
        return self.builder.tensors[self.name(tensor)].quant if found is None else found[1].quant

    def operand(self, tensor: str) -> str:
        """Return the graph tensor; a constant is added as the file stores it."""
        name = self.name(tensor)
        if name in self.known and name not in self.builder.tensors:
            value, form = self.known[name]
            self.builder.add_constant(name, value, form.quant)
            self._exactly(name, value)
        return name

    def constant(self, name: str, value: Array, quant: Quant) -> str:
        """Add a constant that was made from the file's."""
        if name not in self.builder.tensors:
            self.builder.add_constant(name, value, quant)
            self._exactly(name, value)
        return name

    def _exactly(self, name: str, value: Array) -> None:
        """Keep the type of a constant: the builder is for float graphs and widens halves."""
        self.builder.constants[name] = value
        spec = self.builder.tensors[name]
        self.builder.tensors[name] = replace(spec, dtype=DType.of(value.dtype))

    def need(self, layer: VendorLayer, inputs: int | tuple[int, int], outputs: int = 1) -> None:
        """Refuse another number of inputs or outputs, and inputs that are not there."""
        low, high = (inputs, inputs) if isinstance(inputs, int) else inputs
        given = layer.inputs
        if not low <= len(given) <= high or "" in given[:low]:
            raise ContainerError(
                f"it has {len(given)} inputs", where=layer.where, rule=f"{low} to {high}"
            )
        if len(layer.outputs) != outputs:
            raise ContainerError(
                f"it has {len(layer.outputs)} outputs", where=layer.where, rule=f"{outputs}"
            )

    def emit(
        self,
        layer: VendorLayer,
        op: str,
        inputs: Sequence[str],
        attrs: Attrs = NO_ATTRS,
        *,
        part: str = "",
        form: Stored | None = None,
    ) -> str:
        """Append an operator in the number formats of the layer and return its first output.

        Parameters
        ----------
        part : str
            Set for an operator in front of the layer's own: the word is added to its name.
        form : Stored, optional
            Of that operator's output.
        """
        outputs = layer.outputs if not part else (f"{layer.name}/{part}",)
        formats = layer.formats if not part else (form or layer.formats[0],)
        name = f"{layer.layer}/{part}" if part else layer.layer
        names = [self.operand(tensor) for tensor in inputs]
        before = len(self.builder.nodes)
        self.builder.add_node(
            name,
            op,
            names,
            outputs,
            attrs,
            origin=(layer.name,),
            dtype=formats[0].dtype,
            quant=formats[0].quant,
        )
        for tensor, own in zip(outputs, formats, strict=True):
            self.builder.set_format(tensor, own.dtype, own.quant)
        if not part:
            self.uids[self.builder.nodes[before].name] = layer.uid
        return outputs[0]

    def reshaped(self, layer: VendorLayer, tensor: str, shape: Shape, part: str) -> str:
        """Give a tensor another shape in front of a layer; the same shape gives itself."""
        if self.shape(tensor) == shape:
            return tensor
        value = self.known.get(self.name(tensor))
        if value is not None:
            name = f"{tensor}/{'x'.join(map(str, shape))}"
            return self.constant(name, value[0].reshape(shape), value[1].quant)
        spec = self.builder.tensors[self.name(tensor)]
        return self.emit(
            layer,
            "reshape",
            (tensor,),
            ReshapeAttrs(shape=shape),
            part=part,
            form=Stored(spec.dtype, spec.quant),
        )

    def bias(self, layer: VendorLayer, weights: str, count: int) -> str:
        """Return the bias of a weighted layer, zeros when the file has none."""
        tensor = layer.inputs[2] if len(layer.inputs) > 2 else ""
        if tensor:
            value = self.value(tensor)
            if value is None or value.size != count:
                raise ContainerError(
                    f"bias of shape {self.shape(tensor)}",
                    where=layer.where,
                    rule=f"{count} constants",
                )
            if value.dtype.kind == "f":
                return self.constant(f"{tensor}/f32", value.reshape(-1).astype(np.float32), Float())
            return self.reshaped(layer, tensor, (count,), "")
        first, second = self.quant(layer.inputs[0]), self.quant(weights)
        quant: Quant = Float()
        dtype: Any = np.float32
        if isinstance(first, Affine) and isinstance(second, Affine):
            scale = float(np.float32(first.scale) * np.float32(second.scale))
            quant, dtype = Affine(scale=scale, zero_point=0), np.int32
        elif isinstance(first, DynamicFixedPoint) and isinstance(second, DynamicFixedPoint):
            wide = self.builder.tensors[self.name(layer.inputs[0])].dtype is DType.I16
            quant = DynamicFixedPoint(fl=first.fl + second.fl)
            dtype = np.int64 if wide else np.int32
        return self.constant(f"{layer.name}/no_bias", np.zeros(count, dtype), quant)


def axis_of(layer: VendorLayer, axis: int, rank: int) -> int:
    """Return an axis in numpy's order; the file counts from the innermost."""
    if not -rank <= axis < rank:
        raise ContainerError(
            f"axis {axis} does not exist", where=layer.where, rule=f"the tensor has {rank} axes"
        )
    return rank - 1 - axis % rank


CONVERTERS: dict[str, Convert] = {}


def converter(*types: str) -> Callable[[Convert], Convert]:
    """Register the decorated function for operators of the file."""

    def add(convert: Convert) -> Convert:
        CONVERTERS.update(dict.fromkeys(types, convert))
        return convert

    return add

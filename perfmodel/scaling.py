"""A layer list in another width or for another input size: one design, many variants.

``Scaling`` looks at the layers once; ``variant`` makes the layers of one width and input size, with
shapes by the operators' own rules. What does not fit is an error that names variant and layer.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npusim.errors import ConfigError, GraphError, NpusimError
from npusim.ir.attrs import (
    Attrs,
    Conv2dAttrs,
    Deconv2dAttrs,
    Pool2dAttrs,
    ReshapeAttrs,
    ResizeAttrs,
    SliceAttrs,
    SplitAttrs,
)
from npusim.ir.graph import Graph, Node
from npusim.ir.tensor import Shape, TensorSpec
from npusim.ops import op_def
from npusim.perfmodel.channels import Channels, group_of
from npusim.perfmodel.layer_list import MISFITS, LayerList

ROUNDS = 4  # channels that follow from others and reach back to layers before them

Size = tuple[int, int]


class Scaling:
    """Variants of a layer list.

    Parameters
    ----------
    layers : LayerList
    """

    def __init__(self, layers: LayerList) -> None:
        self._layers = layers
        self._channels = Channels(layers.graph)

    def variant(self, width: float = 1.0, size: Size | None = None) -> LayerList:
        """Return the layers in another width, for another input size.

        Parameters
        ----------
        width : float
            Multiplies the channels of convolutions, transposed convolutions and fully connected
            layers, rounded to multiples of 8; those of inputs and outputs stay.
        size : (height, width), optional
            Of every input with four axes.

        Raises
        ------
        ConfigError
            When a layer does not fit what comes before it; it names variant and layer.
        """
        if width == 1 and size is None:
            return self._layers
        graph = self._layers.graph
        known: dict[str, int] = {}
        for _ in range(ROUNDS):
            attempt = _Variant(graph, self._channels, width, size, known)
            made = attempt.run()
            if made is not None:
                return replace(self._layers, graph=made)
        raise attempt.refusal("its channels follow from each other without end")


class _Variant:
    """One variant under construction.

    ``known`` are channels of classes that follow from other tensors (concat, split), found in the
    rounds before: layers in front of those ask for the same.
    """

    def __init__(
        self,
        graph: Graph,
        channels: Channels,
        width: float,
        size: Size | None,
        known: dict[str, int],
    ) -> None:
        self.old, self.channels, self.width, self.size = graph, channels, width, size
        self.known = known
        self.spot = ""
        self.tensors: dict[str, TensorSpec] = {}
        self.constants: dict[str, NDArray[Any]] = {}
        self.maps: dict[Shape, Shape] = {}
        for name in graph.inputs:
            spec = graph.spec(name)
            if size is not None and len(spec.shape) == 4:
                spec = replace(spec, shape=(*spec.shape[:2], *size))
            self.tensors[name] = spec
            if len(spec.shape) == 4:
                self.maps.setdefault(graph.spec(name).shape[2:], spec.shape[2:])

    def refusal(self, what: str, rule: str = "") -> ConfigError:
        """Return the error of a layer that does not fit."""
        size = f", input {self.size[0]}x{self.size[1]}" if self.size else ""
        return ConfigError(
            what,
            where=f"{self.old.name}, width {self.width:g}{size}{self.spot}",
            rule=rule or "a variant's layers fit together as the list's own do",
            remedy="leave this point out, or give the layer a shape that follows its inputs",
        )

    def run(self) -> Graph | None:
        """Return the graph; None when a round with what was learnt is needed."""
        learnt = dict(self.known)
        nodes = []
        for node in self.old.nodes:
            self.spot = f", layer {node.name!r} ({node.op})"
            try:
                nodes.append(self._scaled(node))
            except GraphError as error:
                if learnt != self.known:
                    return None
                raise self.refusal(error.what, error.rule) from error
            except MISFITS as error:
                raise self.refusal(f"cannot be scaled: {error}") from error
        if learnt != self.known:
            return None
        return self.old.copy(nodes=tuple(nodes), tensors=self.tensors, constants=self.constants)

    def _scaled(self, node: Node) -> Node:
        old = [self.old.spec(name).shape for name in node.inputs]
        weighted = op_def(node.op).weighted and node.inputs[1] in self.old.constants
        if weighted:
            node = self._with_weights(node, old)
        else:
            data = next((i for i, n in enumerate(node.inputs) if n in self.tensors), None)
            for index, name in enumerate(node.inputs):
                if name not in self.tensors:
                    self._constant(name, self._operand_shape(node, old, index, data))
            if data is not None:
                new = self.tensors[node.inputs[data]].shape
                node = replace(node, attrs=self._attrs(node, old[data], new))
        new_shapes = [self.tensors[name].shape for name in node.inputs]
        try:
            results = op_def(node.op).infer(node.attrs, new_shapes)
        except NpusimError as error:
            raise GraphError(error.what, rule=error.rule) from error
        for name, shape in zip(node.outputs, results, strict=True):
            self.tensors[name] = replace(self.old.spec(name), shape=tuple(shape))
            self._learn(name)
        return node

    # ---- channels
    def _learn(self, name: str) -> None:
        """Compare a result's channels with what its class has; remember those that follow."""
        was, shape = self.old.spec(name).shape, self.tensors[name].shape
        if len(shape) < 2:
            return
        root = self.channels.of(name)
        if len(was) == len(shape) == 4:
            self.maps.setdefault(was[2:], shape[2:])
        if root in self.channels.ends and shape[1] != was[1]:
            raise GraphError(
                f"has {shape[1]} channels", rule=f"inputs and outputs keep theirs ({was[1]})"
            )
        follows = self.channels.is_made(name) and root not in self.channels.kept
        if follows and self.known.setdefault(root, shape[1]) != shape[1]:
            raise GraphError(
                f"has {shape[1]} channels, another layer beside it {self.known[root]}",
                rule="what is added up has equal channels",
            )

    def _wanted(self, name: str) -> int:
        """Return the channels of a layer that may have as many as it likes."""
        old = self.old.spec(name).shape[1]
        root = self.channels.of(name)
        if root in self.channels.kept:
            return old
        found = self.known.get(root)
        return self.channels.rounded(name, old, self.width) if found is None else found

    def _with_weights(self, node: Node, old: Sequence[Shape]) -> Node:
        ifm, weights = self.tensors[node.inputs[0]].shape, old[1]
        if node.op == "fc":
            rows = len(ifm) > 2
            out = weights[0] if rows else self._wanted(node.outputs[0])
            shape: Shape = (out, ifm[-1] if rows else int(np.prod(ifm[1:])))
        else:
            attrs = node.attrs
            assert isinstance(attrs, Conv2dAttrs | Deconv2dAttrs)  # by the operators' definitions
            group = group_of(attrs, old[0][1], ifm[1])
            depthwise = group > 1 and group == ifm[1]
            out = group * (weights[0] // old[0][1]) if depthwise else self._wanted(node.outputs[0])
            if ifm[1] % group or out % group:
                raise GraphError(
                    f"{ifm[1]} to {out} channels in {group} groups", rule="groups are equal"
                )
            shape = (out, ifm[1] // group, *weights[2:])
            node = replace(node, attrs=replace(attrs, group=group))
        self._constant(node.inputs[1], shape)
        for name in node.inputs[2:]:
            if name not in self.tensors:
                self._constant(name, shape[:1])
        return node

    def _constant(self, name: str, shape: Shape) -> None:
        spec, value = self.old.spec(name), self.old.constants[name]
        if shape == spec.shape:
            self.tensors[name], self.constants[name] = spec, value
            return
        first = value[(0,) * value.ndim] if value.size else value.dtype.type(0)
        self.tensors[name] = replace(spec, shape=shape)
        self.constants[name] = _filled(first.tobytes(), value.dtype, shape)

    def _operand_shape(
        self, node: Node, old: Sequence[Shape], index: int, data: int | None
    ) -> Shape:
        """Return the shape of a known operand beside a tensor that has changed."""
        was = old[index]
        if data is None:
            return was
        before, now = old[data], self.tensors[node.inputs[data]].shape
        if op_def(node.op).elementwise:
            lead = len(before) - len(was)
            return tuple(
                now[lead + i] if lead + i >= 0 and size > 1 and size == before[lead + i] else size
                for i, size in enumerate(was)
            )
        if len(was) == 1 and len(before) > 1 and was[0] == before[1]:
            return (now[1],)
        return was

    # ---- settings that are sizes
    def _attrs(self, node: Node, old: Shape, new: Shape) -> Attrs:
        attrs = node.attrs
        if isinstance(attrs, Pool2dAttrs) and attrs.kernel == old[2:] and not any(attrs.pad):
            whole = (new[2], new[3])
            stride = whole if attrs.stride == attrs.kernel else attrs.stride
            return replace(attrs, kernel=whole, stride=stride)
        if isinstance(attrs, ResizeAttrs) and old[2:] == new[2:] == (1, 1):
            # what was averaged to one pixel goes back to the size of a map before it
            height, width = self.maps.get(attrs.size, attrs.size)
            return replace(attrs, size=(height, width))
        if isinstance(attrs, ResizeAttrs):
            sizes = zip(attrs.size, old[2:], new[2:], strict=True)
            height, width = (_proportional(part, was, now) for part, was, now in sizes)
            return replace(attrs, size=(height, width))
        if isinstance(attrs, ReshapeAttrs):
            target = self.old.spec(node.outputs[0]).shape
            return replace(attrs, shape=reshaped(old, new, target))
        if isinstance(attrs, SplitAttrs):
            was, now = old[attrs.axis], new[attrs.axis]
            ends = np.cumsum((0, *attrs.sizes))
            cut = [_proportional(int(end), was, now) for end in ends]
            return replace(attrs, sizes=tuple(int(n) for n in np.diff(cut)))
        if isinstance(attrs, SliceAttrs):
            axes = zip(attrs.begin, attrs.end, attrs.step, old, new, strict=True)
            begin, end = zip(*(_cut(*axis) for axis in axes), strict=True)
            return replace(attrs, begin=begin, end=end)
        return attrs


@lru_cache(maxsize=4096)
def _filled(element: bytes, dtype: np.dtype[Any], shape: Shape) -> NDArray[Any]:
    """Return an array of one element throughout, which takes no memory."""
    return np.broadcast_to(np.frombuffer(element, dtype)[0], shape)


def _proportional(part: int, was: int, now: int) -> int:
    """Return the same part of another size.

    Raises
    ------
    GraphError
        When that is no whole number.
    """
    scaled, rest = divmod(part * now, was)
    if rest:
        raise GraphError(
            f"{part} of {was} is no whole part of {now}", rule="parts keep their proportion"
        )
    return scaled


def _cut(begin: int, end: int, step: int, was: int, now: int) -> tuple[int, int]:
    """Return begin and end of a slice along an axis of another size."""
    if was == now:
        return begin, end
    if step < 0:
        return (now - 1 if begin == was - 1 else _proportional(begin, was, now)), end
    first = begin if begin < step else _proportional(begin, was, now)
    return first, now if end == was else _proportional(end, was, now)


def reshaped(old: Shape, new: Shape, target: Shape) -> Shape:
    """Return the target of a reshape whose input has another shape.

    Axes are matched in runs of equal products: a run that is one axis of the target takes the new
    product; one that is cut up must not have changed, or only where its first axis comes from.

    Raises
    ------
    GraphError
        When a changed axis is cut up.
    """
    if old == new:
        return target
    found: list[int] = []
    i = j = 0
    while i < len(old) or j < len(target):
        i0, j0 = i, j
        left = right = 1
        while i == i0 or j == j0 or left != right:
            wants_left = i == i0 or (j > j0 and left < right) or j == len(target)
            if wants_left and i < len(old):
                left, i = left * old[i], i + 1
            elif j < len(target):
                right, j = right * target[j], j + 1
            else:
                break
        size = int(np.prod(new[i0:i]))
        if old[i0:i] == target[j0:j]:
            found += new[i0:i]
        elif j - j0 == 1:
            found.append(size)
        elif old[i0:i] == new[i0:i]:
            found += target[j0:j]
        elif (first := _first_axis(old[i0:i], new[i0:i], target[j0:j])) is not None:
            found += [first, *target[j0 + 1 : j]]
        else:
            raise GraphError(
                f"cannot cut {list(new[i0:i])} into {list(target[j0:j])}",
                rule="a reshape that cuts an axis up needs that axis unchanged",
            )
    return tuple(found)


def _first_axis(old: Shape, new: Shape, target: Shape) -> int | None:
    """Return the first axis of a run's target when all that changed goes into it; else None."""
    changed = max(i for i, sizes in enumerate(zip(old, new, strict=True)) if sizes[0] != sizes[1])
    inner, kept = int(np.prod(target[1:])), int(np.prod(old[changed + 1 :]))
    return None if kept % inner else int(np.prod(new)) // inner

"""Steps of the chip: a few more channels than a layer has that cost less.

More channels are sometimes faster: a tile that fits, superblocks that are equal, rows that fill
lines. A layer's channels are also its readers', so a step is priced with everything that follows.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from npusim.ir.attrs import Conv2dAttrs
from npusim.ir.graph import Form
from npusim.ops import op_def
from npusim.perfmodel.estimate import Estimate, LayerEstimate
from npusim.perfmodel.network import Layer, images_of
from npusim.perfmodel.pricing import price
from npusim.perfmodel.residence import Kept
from npusim.perfmodel.workload import NnWork, ShaderWork, TpWork, Work

ROUND = (8, 16, 32, 64)  # numbers of channels are rounded up to those of these that they are not
REACH = 0.25  # how far more channels are looked at, as a share of the layer's own
WORTH_A_LOOK = 0.01  # of the network, what is concerned takes at least
NOTABLE_STEP = 0.02  # of the layers concerned
NOTABLE_TOTAL = 0.002  # of the network


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A number of channels that costs less.

    ``own_us`` is what the layer itself gains, ``all_us`` what it and its readers gain together;
    ``share`` that of the network's time, ``readers`` the operations that have these channels too.
    """

    channels: int
    instead_of: int
    own_us: float
    all_us: float
    share: float
    readers: int


def channel_steps(estimate: Estimate) -> dict[str, Step]:
    """Return layer -> more channels that cost less than its own, where the model finds any.

    Convolutions without groups whose results end in convolutions, directly or through depthwise
    convolutions, activations and pools. What stays on the chip is taken to stay there.
    """
    found = {}
    priced = {layer.name: layer for layer in estimate.layers}
    for layer in estimate.source.layers:
        attrs = layer.attrs
        plain = isinstance(attrs, Conv2dAttrs) and attrs.group == 1
        if plain and layer.form is Form.CONVOLUTION and priced[layer.name].operations:
            step = _step_of(layer, priced, estimate)
            if step is not None:
                found[layer.name] = step
    return found


@dataclass(frozen=True, slots=True)
class _Part:
    """One operation that a change of channels concerns, and on which sides."""

    work: Work
    kept: Kept
    images: int
    reads: bool
    writes: bool

    def cycles(self, estimate: Estimate, before: int, after: int) -> float:
        """Return its cycles with other channels; ValueError where they do not divide."""
        work = _changed(self.work, before, after, reads=self.reads, writes=self.writes)
        return price(work, estimate.setting, self.kept).cost.cycles * self.images


def _step_of(layer: Layer, priced: dict[str, LayerEstimate], estimate: Estimate) -> Step | None:
    channels = estimate.source.shapes[layer.outputs[0]][1]
    try:
        own = list(_parts(layer, priced, estimate, reads=False, writes=True))
        following = list(_followers(layer.outputs[0], priced, estimate))
        now = [part.cycles(estimate, channels, channels) for part in (*own, *following)]
        best: tuple[float, float, int] | None = None
        if sum(now) < WORTH_A_LOOK * estimate.cost.cycles:
            return None
        most = channels + max(ROUND[0], int(channels * REACH))
        for wanted in sorted({-(-channels // n) * n for n in ROUND if channels % n}):
            if wanted > most:
                break
            then = [part.cycles(estimate, channels, wanted) for part in (*own, *following)]
            gains = sum(now) - sum(then), sum(now[: len(own)]) - sum(then[: len(own)])
            if best is None or gains[0] > best[0]:
                best = (*gains, wanted)
    except ValueError:  # something in the way whose price does not follow from channels alone
        return None
    total = estimate.cost.cycles
    if best is None or best[0] < NOTABLE_STEP * sum(now) or best[0] < NOTABLE_TOTAL * total:
        return None
    to_us = 1e6 / estimate.clock_hz
    return Step(
        channels=best[2],
        instead_of=channels,
        own_us=best[1] * to_us,
        all_us=best[0] * to_us,
        share=best[0] / total,
        readers=len(following),
    )


def _parts(
    layer: Layer,
    priced: dict[str, LayerEstimate],
    estimate: Estimate,
    *,
    reads: bool,
    writes: bool,
) -> Iterator[_Part]:
    """Yield the operations of a layer that are concerned.

    What runs in front of a convolution (a reshuffle) has the input's channels on both sides.
    """
    images = estimate.batch * images_of(estimate.source.shapes[layer.outputs[0]])
    for operation in priced[layer.name].operations:
        work = operation.work
        if isinstance(work, NnWork) or (reads and writes):
            yield _Part(work, operation.kept, images, reads, writes)
        elif reads:
            yield _Part(work, operation.kept, images, True, True)


def _followers(
    tensor: str, priced: dict[str, LayerEstimate], estimate: Estimate
) -> Iterator[_Part]:
    """Yield the operations that have a tensor's channels; ValueError where that cannot be told."""
    network = estimate.source
    if tensor in network.outputs:
        raise ValueError(tensor)
    for reader in network.consumers[tensor]:
        attrs, out = reader.attrs, reader.outputs[0]
        if isinstance(attrs, Conv2dAttrs) and attrs.group == 1:
            yield from _parts(reader, priced, estimate, reads=True, writes=False)
            continue
        same = network.shapes[out][1:2] == network.shapes[tensor][1:2]
        alone = len(reader.inputs) == 1 and same
        depthwise = isinstance(attrs, Conv2dAttrs) and attrs.group > 1
        if not alone or not (depthwise or reader.op == "pool2d" or op_def(reader.op).activation):
            raise ValueError(reader.name)
        yield from _parts(reader, priced, estimate, reads=True, writes=True)
        yield from _followers(out, priced, estimate)


def _changed(work: Work, before: int, after: int, *, reads: bool, writes: bool) -> Work:
    """Return an operation with other channels on the sides that are concerned."""

    def scaled(size: int, concerned: bool) -> int:
        if not concerned:
            return size
        found, rest = divmod(size * after, before)
        if rest:
            raise ValueError(size)
        return found

    if isinstance(work, NnWork) and work.count == 1:
        return replace(work, in_c=scaled(work.in_c, reads), out_c=scaled(work.out_c, writes))
    if isinstance(work, TpWork):
        return replace(
            work,
            in_bytes=scaled(work.in_bytes, reads),
            out_bytes=scaled(work.out_bytes, writes),
            channels=scaled(work.channels, reads),
        )
    if isinstance(work, ShaderWork):
        return replace(
            work,
            in_bytes=scaled(work.in_bytes, reads),
            out_bytes=scaled(work.out_bytes, writes),
            in_values=scaled(work.in_values, reads),
            out_values=scaled(work.out_values, writes),
            taps=scaled(work.taps, writes),
        )
    raise ValueError(work.operation)

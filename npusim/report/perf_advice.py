"""What could make a layer cheaper: one line, where a documented rule of the chip gives one.

Source of the rules: the design tips of the RKNN-Toolkit user guides 1.0 to 1.7.5, and the driver's
own operation lists (docs/performance-model.md).
"""

from collections.abc import Callable
from dataclasses import dataclass

from npusim.ir.attrs import Conv2dAttrs, Pool2dAttrs, PoolKind, ResizeAttrs, ResizeMode
from npusim.ir.dtypes import DType
from npusim.ir.graph import Engine, Form
from npusim.ir.tensor import Shape
from npusim.ops import op_def
from npusim.perfmodel.cost import Bound
from npusim.perfmodel.estimate import Estimate, LayerEstimate
from npusim.perfmodel.network import Layer, nchw
from npusim.perfmodel.workload import NnWork
from npusim.report.perf_steps import Step, channel_steps

KERNEL_STEPS = 11  # kernels of the NN engine, in steps of their stride
POOL_WIDTH_LIMIT = {8: 64, 16: 32}  # a 3x3 pool fuses below this width
BATCH_LIMIT = 32
# Below these a rule says nothing: what it could save is not worth a line.
NOTABLE_IDLE_CORES = 0.1
NOTABLE_RESHUFFLE = 0.25
NOTABLE_REREAD = 1.5
NOTABLE_SIXTEEN_BIT = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """One line about a layer or a network; ``rule`` is a stable word for programs."""

    rule: str
    text: str

    def to_dict(self) -> dict[str, str]:
        """Return plain values."""
        return {"rule": self.rule, "text": self.text}


@dataclass(frozen=True, slots=True)
class _Case:
    """A layer with what the rules ask about it."""

    cost: LayerEstimate
    layer: Layer
    producer: Layer | None
    estimate: Estimate
    ifm: Shape
    ofm: Shape
    dtype: DType
    step: Step | None

    @property
    def nn(self) -> NnWork | None:
        """Return the layer's operation on the NN cores."""
        return next((o.work for o in self.cost.operations if isinstance(o.work, NnWork)), None)

    @property
    def cores(self) -> int:
        """Return the NN cores that compute this type."""
        setting = self.estimate.setting
        eight = self.dtype.bits == 8
        return setting.machine.nn.cores_count if eight else setting.profile.cores_16bit_count


Rule = Callable[[_Case], str]


def advise(estimate: Estimate) -> dict[str, Advice]:
    """Return layer name -> advice, for the layers that have one."""
    network = estimate.source
    layers = {layer.name: layer for layer in network.layers}
    producers = network.producers
    steps = channel_steps(estimate)
    found = {}
    for cost in estimate.layers:
        layer = layers[cost.name]
        if not cost.operations or not layer.inputs:
            continue
        first = layer.inputs[0]
        case = _Case(
            cost=cost,
            layer=layer,
            producer=producers.get(first),
            estimate=estimate,
            ifm=nchw(network.shapes[first]),
            ofm=nchw(network.shapes[layer.outputs[0]]),
            dtype=network.dtypes[first],
            step=steps.get(cost.name),
        )
        for name, rule in _RULES:
            if text := rule(case):
                found[cost.name] = Advice(rule=name, text=text)
                break
    return found


def advise_network(estimate: Estimate) -> tuple[Advice, ...]:
    """Return advice about the network as a whole."""
    found = []
    cores = estimate.setting.profile.cores_16bit_count
    every = estimate.setting.machine.nn.cores_count
    shares = _sixteen_bit_shares(estimate)
    share = sum(shares.values())
    if share >= NOTABLE_SIXTEEN_BIT:
        kind = " and ".join(sorted(shares, key=lambda name: -shares[name]))
        text = (
            f"layers of the NN cores in {kind} take {share:.0%} of the time: they run on {cores} "
            f"of {every} cores and move twice the bytes; quantize to 8 bits what tolerates it"
        )
        if estimate.note:
            text = (
                f"layers in {kind} take {share:.0%} of the time: {estimate.machine} has no NN "
                "cores for float16; quantize to 8 bits what tolerates it"
            )
        found.append(Advice(rule="sixteen-bit", text=text))
    if estimate.batch >= BATCH_LIMIT:
        text = f"batch {estimate.batch}: the vendor advises less than {BATCH_LIMIT}"
        found.append(Advice(rule="batch", text=text))
    return tuple(found)


def _sixteen_bit_shares(estimate: Estimate) -> dict[str, float]:
    """Return number format -> share of the time that layers of the NN cores take in it."""
    words = {DType.F16: "float16", DType.I16: "int16"}
    first = {layer.name: layer.inputs[0] for layer in estimate.source.layers if layer.inputs}
    found: dict[str, float] = {}
    for cost in estimate.layers:
        dtype = estimate.source.dtypes[first[cost.name]] if cost.name in first else None
        if dtype in words and any(isinstance(o.work, NnWork) for o in cost.operations):
            found[words[dtype]] = found.get(words[dtype], 0.0) + cost.share
    return found


def _kernel_limit(case: _Case) -> str:
    attrs = case.layer.attrs
    if not isinstance(attrs, Conv2dAttrs) or case.cost.engine is not Engine.SHADER:
        return ""
    sizes = zip(case.layer.weight_shape[2:], attrs.stride, attrs.dilation, strict=True)
    (height, most), (width, other) = (((k - 1) * d + 1, KERNEL_STEPS * s) for k, s, d in sizes)
    if height <= most and width <= other:
        return ""
    return (
        f"a kernel that reaches {height}x{width} pixels is beyond the NN engine (11 x stride = "
        f"{most}); use several smaller convolutions"
    )


def _dilation_pair(case: _Case) -> str:
    attrs = case.layer.attrs
    if not isinstance(attrs, Conv2dAttrs) or 1 in attrs.dilation:
        return ""
    rows, columns = attrs.dilation
    if rows == columns:
        return ""
    return f"dilation {rows}x{columns} is not supported by the toolkit; make both sides equal"


def _large_pool(case: _Case) -> str:
    attrs = case.layer.attrs
    if not isinstance(attrs, Pool2dAttrs) or case.cost.engine is not Engine.SHADER:
        return ""
    height, width = attrs.kernel
    base = f"{height}x{width} {attrs.kind.value} pool runs on the shader"
    chain = (height - 1) // 2
    if attrs.kind is PoolKind.MAX and attrs.stride == (1, 1) and height == width and height % 2:
        return f"{base}; {chain} 3x3 stride-1 pools in a row give the same result on TP"
    return f"{base}; max pools up to 3x3 run on TP, average pools up to 11x11 on the NN cores"


def _shader(case: _Case) -> str:
    if case.cost.engine is not Engine.SHADER:
        return ""
    op = case.layer.op
    if op in ("add", "sub"):
        return (
            f"{op} runs on the shader; on the NN cores it needs two different operands of equal "
            "shape, both results of layers (no input, slice, concat), u8 or float16"
        )
    if op == "global_pool":
        side = max(case.ifm[2:])
        if side < KERNEL_STEPS:
            return f"global pool runs on the shader; as average pool {side}x{side} it is NN work"
        return "global pool runs on the shader; shrink the map below 11x11 and use an average pool"
    if op == "resize" and isinstance(case.layer.attrs, ResizeAttrs):
        mode = case.layer.attrs.mode
        if mode is not ResizeMode.NEAREST:
            return f"{mode.value} resize runs on the shader; nearest by whole factors does not"
        return "only nearest by whole factors in u8 or i16 avoids the shader"
    if op == "convert":
        return "a change of number format runs on the shader; feed and read the model's own type"
    if op == "softmax":
        return "softmax runs on the shader; leave it out where only the largest value matters"
    return f"{op} has no fixed engine and runs on the shader; leave it out, or replace it"


def _activation(case: _Case) -> str:
    op = case.layer.op
    if not op_def(op).activation or case.cost.engine is not Engine.TP:
        return ""
    if op in ("relu", "relu6"):
        return f"{op} is a pass of its own; directly behind a convolution it costs nothing"
    return f"{op} is a pass of its own on TP; relu or relu6 behind a convolution cost nothing"


def _pool(case: _Case) -> str:
    attrs = case.layer.attrs
    if not isinstance(attrs, Pool2dAttrs) or attrs.kind is not PoolKind.MAX:
        return ""
    _, _, height, width = case.ifm
    small, limit = attrs.kernel, POOL_WIDTH_LIMIT[case.dtype.bits]
    if case.producer is None or case.producer.op != "conv2d":
        return "max pool is a pass of its own on TP; directly behind a convolution it can fuse"
    if attrs.stride != (2, 2) or small not in ((2, 2), (3, 3)):
        return "max pool is a pass of its own on TP; 2x2 or 3x3 with stride 2 can fuse"
    if small == (2, 2) and (any(attrs.pad) or height % 2 or width % 2):
        return f"2x2 max pool fuses for even maps without padding, this map is {height}x{width}"
    if small == (3, 3) and (any(attrs.pad) or not (height % 2 and width % 2) or width >= limit):
        return (
            f"3x3 max pool fuses for odd maps narrower than {limit} without padding, this map is "
            f"{height}x{width}; 2x2 fuses for even maps"
        )
    return ""


def _copies(case: _Case) -> str:
    op = case.layer.op
    if op == "concat":
        return "concat copies; results of layers with the output's quantization are free"
    if op in ("split", "slice"):
        return f"{op} copies its parts on TP; separate convolutions in its place avoid that"
    if op == "transpose":
        return "a transpose moves the whole tensor on one TP core; keep one layout throughout"
    return ""


def _fc_type(case: _Case) -> str:
    on_tp = case.cost.engine is Engine.TP and case.cost.form is Form.FULLY_CONNECTED
    if not on_tp or case.dtype is DType.U8:
        return ""
    return f"fully connected layers run on TP in {case.dtype.value}; in u8 on the NN cores"


def _groups(case: _Case) -> str:
    work, attrs = case.nn, case.layer.attrs
    grouped = isinstance(attrs, Conv2dAttrs) and attrs.group > 1
    if work is None or not grouped or work.depthwise:
        return ""
    return (
        f"{attrs.group} groups run one after the other; "  # type: ignore[attr-defined]
        "a convolution without groups is one operation"
    )


def _launch(case: _Case) -> str:
    if case.cost.bound is not Bound.LAUNCH:
        return ""
    pixels = case.ofm[2] * case.ofm[3]
    if pixels == 1 and case.nn is not None:
        return "one-pixel layer: starting it takes longer than its work; merge or drop it"
    return "starting the operation takes longer than its work; merge it with its neighbours"


def _weights(case: _Case) -> str:
    pixels = case.ofm[2] * case.ofm[3]
    traffic = case.cost.cost.traffic
    bounds = (Bound.DDR, Bound.DECODE)
    if case.cost.bound not in bounds or traffic.ddr_kernel_bytes < traffic.ddr_bytes / 2:
        return ""
    where = "one pixel" if pixels == 1 else f"{pixels} pixels"
    how = "reading" if case.cost.bound is Bound.DDR else "decoding"
    return f"{how} weights for {where} bounds it: fewer or sparser ones help, fewer pixels do not"


def _depthwise(case: _Case) -> str:
    work, attrs = case.nn, case.layer.attrs
    if work is None or not isinstance(attrs, Conv2dAttrs) or attrs.group == 1:
        return ""
    native = case.estimate.setting.machine.nn.native_depthwise_count
    if not work.depthwise:
        return ""
    if attrs.stride == (2, 2) and (case.dtype.bits != 8 or case.ifm[3] % 2):
        return "stride-2 depthwise needs a reshuffle on TP unless the width is even, in 8 bits"
    if native or case.cost.bound is Bound.DDR:
        return ""
    return (
        "depthwise is stored dense with zeros and takes about as long as a dense convolution that "
        "reads a sixth of the channels"
    )


def _reshuffle(case: _Case) -> str:
    spent = sum(o.cost.cycles for o in case.cost.operations if o.operation == "RESHUFFLE")
    share = spent / case.cost.cost.cycles
    if share < NOTABLE_RESHUFFLE:
        return ""
    return f"stride needs a reshuffle on TP, {share:.0%} of this layer; stride 1 has none"


def _idle_cores(case: _Case) -> str:
    work = case.nn
    if work is None or case.cost.bound not in (Bound.COMPUTE, Bound.DECODE, Bound.OUTPUT):
        return ""
    cores = case.cores
    rounds = -(-work.out_c // cores)
    idle = 1 - work.out_c / (rounds * cores)
    if idle < NOTABLE_IDLE_CORES:
        return ""
    fewer = f", {(rounds - 1) * cores} cost less" if rounds > 1 else ""
    return (
        f"{work.out_c} output channels leave {idle:.0%} of {cores} cores idle: {rounds * cores} "
        f"cost the same{fewer}"
    )


def _channel_step(case: _Case) -> str:
    step = case.step
    if step is None:
        return ""
    alone = f"{abs(step.own_us):.1f} us {'less' if step.own_us > 0 else 'more'} in it"
    return (
        f"{step.channels} output channels cost less than {step.instead_of} here: {alone}, "
        f"{step.all_us:.1f} us less with the layers that read them, {step.share:.1%} of the network"
    )


def _short_rows(case: _Case) -> str:
    work, traffic = case.nn, case.cost.cost.traffic
    if work is None or not work.pointwise or case.cost.bound is not Bound.DDR:
        return ""
    row = work.in_w * case.dtype.itemsize
    dense = row * work.in_h * work.in_c * case.ifm[0] * case.estimate.batch
    line = case.estimate.setting.machine.memory.line_bytes
    times = traffic.ddr_image_bytes / dense
    if times < NOTABLE_REREAD:
        return ""
    return (
        f"rows of {row} bytes are fetched in lines of {line}, {times:.1f} times the map; widths of "
        f"{line // 4}, {line // 2} or multiples of {line} bytes fit"
    )


def _oblong(case: _Case) -> str:
    if case.layer.op != "conv2d":
        return ""
    height, width = case.layer.weight_shape[2:]
    if height == width:
        return ""
    return f"{height}x{width} kernel: oblong kernels cost more per product than square ones"


def _dilation(case: _Case) -> str:
    attrs = case.layer.attrs
    if not isinstance(attrs, Conv2dAttrs) or attrs.dilation == (1, 1):
        return ""
    work = case.nn
    if work is None:
        return ""
    if work.count > 1:
        return f"dilation cuts it into {work.count} convolutions; up to 11 pixels are one"
    return f"dilation makes it a {work.kernel_h}x{work.kernel_w} kernel with zeros between the taps"


_RULES: tuple[tuple[str, Rule], ...] = (
    ("kernel-limit", _kernel_limit),
    ("dilation-pair", _dilation_pair),
    ("large-pool", _large_pool),
    ("shader", _shader),
    ("activation-pass", _activation),
    ("pool-fusion", _pool),
    ("copy", _copies),
    ("fc-type", _fc_type),
    ("groups", _groups),
    ("channel-step", _channel_step),
    ("launch", _launch),
    ("dilation", _dilation),
    ("weights", _weights),
    ("depthwise", _depthwise),
    ("reshuffle", _reshuffle),
    ("idle-cores", _idle_cores),
    ("short-rows", _short_rows),
    ("oblong-kernel", _oblong),
)

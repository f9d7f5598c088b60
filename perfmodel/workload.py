"""One engine operation, described by shapes only.

Lowering turns a layer into workloads; the cost functions of ``npusim.perfmodel.engines`` price
them. Sizes are pixels and channels of one image; the batch is applied by the estimate.
"""

from dataclasses import dataclass, field

from npusim.ir.dtypes import DType
from npusim.ir.graph import Engine


@dataclass(frozen=True, slots=True, kw_only=True)
class NnWork:
    """A convolution with stride 1 as the NN cores run it.

    Attributes
    ----------
    in_w, in_h, in_c, out_w, out_h, out_c : int
        Map sizes before fused pooling.
    final_w, final_h : int
        Output size after fused pooling.
    kernel_w, kernel_h : int
    pool : int
        Side of the fused pooling window, 1 for none.
    dtype : DType
        U8, I8, I16 or F16.
    zero_fraction : float
        Share of weights equal to the zero point.
    depthwise : bool
        Every output channel reads one input channel; stored dense, filled with zeros.
    tap_ratio : float
        Share of taps that are real after space to depth; 0 when the kernel is as the model has it.
    rows_ratio : float
        Share of the kernel's rows that hold taps; the others are zeros that make it square.
    macs : int
        Products the layer asks for (not those the engine makes).
    count : int
        How often it runs, once for every channel.
    """

    operation: str = "CONVOLUTION"
    in_w: int
    in_h: int
    in_c: int
    out_w: int
    out_h: int
    out_c: int
    final_w: int
    final_h: int
    kernel_w: int
    kernel_h: int
    pool: int = 1
    dtype: DType
    zero_fraction: float = 0.0
    depthwise: bool = False
    tap_ratio: float = 0.0
    rows_ratio: float = 1.0
    macs: int = 0
    count: int = 1
    _hash: int = field(init=False, repr=False, compare=False)

    engine = Engine.NN

    def __post_init__(self) -> None:
        """Hash once: works are looked up many times while a tile is chosen."""
        sizes = (self.in_w, self.in_h, self.in_c, self.out_w, self.out_h, self.out_c)
        kernel = (self.kernel_w, self.kernel_h, self.pool, self.dtype, self.zero_fraction)
        object.__setattr__(self, "_hash", hash((sizes, kernel, self.depthwise, self.tap_ratio)))

    def __hash__(self) -> int:
        return self._hash

    @property
    def pointwise(self) -> bool:
        """Tell whether the kernel is one pixel."""
        return self.kernel_w == 1 and self.kernel_h == 1

    @property
    def padded_vector(self) -> bool:
        """Tell whether it is a vector seen as an image that has fewer rows than its kernel.

        Weights below the image are zero.
        """
        return (
            self.out_h == 1
            and self.out_w == 1
            and self.in_w == self.kernel_w > 1
            and (self.in_h < self.kernel_h)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TpWork:
    """A pass over a tensor on the tensor processor.

    ``in_bytes`` and ``out_bytes`` are dense tensor sizes; ``channels`` and ``pixels`` of the input
    decide over how many cores the pass is spread. ``leaky``: an activation with a slope below zero.
    """

    operation: str
    in_bytes: int
    out_bytes: int
    channels: int
    pixels: int
    leaky: bool = False
    macs: int = 0

    engine = Engine.TP


@dataclass(frozen=True, slots=True, kw_only=True)
class FullyConnectedWork:
    """A fully connected layer of one vector on the tensor processor.

    Attributes
    ----------
    in_c, out_c : int
        Length of the vector and of the result.
    dtype : DType
        Of vector, weights and result.
    zero_fraction : float
        Share of weights equal to the zero point.
    macs : int
        Products the layer asks for.
    """

    operation: str = "FULLYCONNECTED"
    in_c: int
    out_c: int
    dtype: DType
    zero_fraction: float = 0.0
    macs: int = 0

    engine = Engine.TP

    @property
    def in_bytes(self) -> int:
        """Return the size of the vector."""
        return self.in_c * self.dtype.itemsize

    @property
    def out_bytes(self) -> int:
        """Return the size of the result."""
        return self.out_c * self.dtype.itemsize


@dataclass(frozen=True, slots=True, kw_only=True)
class ShaderWork:
    """An operation on the programmable core.

    ``in_bytes`` is of the first operand, as the estimator counts them, ``in_values`` of all;
    ``taps`` is the work of a window operator.
    """

    operation: str
    in_bytes: int
    out_bytes: int
    in_values: int
    out_values: int
    taps: int = 0
    macs: int = 0

    engine = Engine.SHADER


Work = NnWork | TpWork | FullyConnectedWork | ShaderWork

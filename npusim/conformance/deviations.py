"""Where an importer differs from the program that recorded a case, and why."""

from dataclasses import dataclass

from npusim.conformance.forms import FLOAT
from npusim.conformance.importer_cases import ImporterCase

ACCEPTED, REFUSED, DIFFERS = "accepted", "refused", "differs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Deviation:
    """A kind of difference.

    Attributes
    ----------
    outcome : str
        ``accepted``: a model that the program refuses; ``refused``: one that it takes;
        ``differs``: other values.
    layer : str
        A layer type that the case has.
    label : str
        Part of the case's label.
    program : str
        Part of the program's name.
    forms : tuple of str
        Number formats that it occurs in; empty: all.
    """

    framework: str
    outcome: str
    layer: str
    reason: str
    label: str = ""
    program: str = ""
    forms: tuple[str, ...] = ()

    def fits(self, case: ImporterCase, outcome: str, form: str) -> bool:
        """Tell whether a case deviates in this way."""
        return (
            (not self.forms or form in self.forms)
            and (self.framework, self.outcome) == (case.framework, outcome)
            and self.layer in case.layers
            and self.label in case.label
            and self.program in case.program
        )


_BYTES = ("u8", "i8")
_WHOLE = (*_BYTES, "i16")
_CHIP = ("f16", *_WHOLE)
_SCALAR = "a shape of one element holds the same number as a scalar"
_FORKS = "a layer of other forks of Caffe, which the importer takes"
DEVIATIONS = (
    *(
        Deviation(framework="caffe", outcome=ACCEPTED, layer=layer, label="blob", reason=_SCALAR)
        for layer in ("PReLU", "Normalize")
    ),
    *(
        Deviation(
            framework="caffe",
            outcome=ACCEPTED,
            layer=layer,
            label="unknown layer type",
            reason=_FORKS,
        )
        for layer in ("Interp", "Mish", "Upsample", "ReLU6", "ShuffleChannel", "Axpy", "BN")
    ),
    Deviation(
        framework="caffe",
        outcome=DIFFERS,
        layer="Normalize",
        label="tiny",
        reason="the chip's l2norm has no epsilon: lengths below 1e-3 differ",
    ),
    Deviation(
        framework="mxnet",
        outcome=DIFFERS,
        layer="SoftmaxOutput",
        program="MXNET_MKLDNN_ENABLED=0",
        reason="the form with MKL-DNN is followed; load_mxnet(mkldnn=False) gives this one",
    ),
    Deviation(
        framework="darknet",
        outcome=DIFFERS,
        layer="convolutional",
        label="dontloadscales",
        forms=("f16",),
        reason="variances of 0 make weights of 3e6, which float16 does not hold; refused by name",
    ),
    Deviation(
        framework="tensorflow",
        outcome=DIFFERS,
        layer="FakeQuantWithMinMaxArgs",
        forms=_CHIP,
        reason="a number midway between two codes goes to the even one on the chip, up there",
    ),
    *(
        Deviation(
            framework=framework,
            outcome=DIFFERS,
            layer=layer,
            label=label,
            forms=_WHOLE,
            reason="the fill lies beyond the range that the result shares with its input (warned)",
        )
        for framework, layer, label in (
            ("mxnet", "Pad", "op Pad constant"),
            ("mxnet", "Pooling", "Pooling max full 5x5 k2 s2 p1"),
            ("tensorflow", "PadV2", "PadV2 value 1.5"),
        )
    ),
    Deviation(
        framework="caffe",
        outcome=DIFFERS,
        layer="Softmax",
        label="large values",
        forms=_BYTES,
        reason="inputs up to 1000 in 255 steps: a step is more than the difference that decides",
    ),
    Deviation(
        framework="mxnet",
        outcome=DIFFERS,
        layer="sign",
        forms=_BYTES,
        reason="a number nearer to 0 than half a step has the code of 0",
    ),
    Deviation(
        framework="mxnet",
        outcome=DIFFERS,
        layer="_contrib_MultiBoxDetection",
        label="SSD head",
        forms=_BYTES,
        reason="boxes of scores a few steps apart change places, and so which of them is kept",
    ),
    Deviation(
        framework="caffe",
        outcome=DIFFERS,
        layer="DetectionOutput",
        label="SSD head",
        forms=("i8",),
        reason="boxes move by a step of their format, which is a power of two",
    ),
    Deviation(
        framework="mxnet",
        outcome=DIFFERS,
        layer="LayerNorm",
        forms=("i8",),
        reason="the chip's i8 kernel stores rows of a negative sum as 0 (warned)",
    ),
    Deviation(
        framework="mxnet",
        outcome=DIFFERS,
        layer="round",
        forms=("i8", "i16"),
        reason="a power of two at the end of a range is stored one step below, then cut off",
    ),
)


def reason_for(case: ImporterCase, outcome: str, form: str = FLOAT) -> str:
    """Return why a case deviates as it does; empty when no reason is known."""
    return next((d.reason for d in DEVIATIONS if d.fits(case, outcome, form)), "")

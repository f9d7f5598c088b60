"""Where an importer differs from the program that recorded a case, and why."""

from dataclasses import dataclass

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
    """

    framework: str
    outcome: str
    layer: str
    reason: str
    label: str = ""
    program: str = ""

    def fits(self, case: ImporterCase, outcome: str) -> bool:
        """Tell whether a case deviates in this way."""
        return (
            (self.framework, self.outcome) == (case.framework, outcome)
            and self.layer in case.layers
            and self.label in case.label
            and self.program in case.program
        )


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
)


def reason_for(case: ImporterCase, outcome: str) -> str:
    """Return why a case deviates as it does; empty when no reason is known."""
    return next((d.reason for d in DEVIATIONS if d.fits(case, outcome)), "")

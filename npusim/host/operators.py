"""What ONNX's evaluator is given besides its own operators, or instead of them."""

from onnx.reference.op_run import OpRun

from npusim.host.detection_output import DetectionOutput
from npusim.host.multibox import BoxNms, MultiBoxDetection, MxTopK
from npusim.host.onnx_operators import CORRECTED
from npusim.host.proposal import Proposal

OPERATORS: tuple[type[OpRun], ...] = (
    *CORRECTED,
    BoxNms,
    DetectionOutput,
    MultiBoxDetection,
    MxTopK,
    Proposal,
)

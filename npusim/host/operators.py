"""Operators of the CPU that ONNX does not have: what its evaluator is given besides its own."""

from npusim.host.detection_output import DetectionOutput
from npusim.host.proposal import Proposal

OPERATORS = (DetectionOutput, Proposal)

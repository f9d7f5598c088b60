"""Replay recorded vectors of the reference through npusim's own execution path.

Tables of the vendor's estimator and of published times are compared with the performance model.
"""

from npusim.conformance.inputs import Findings, conform, golden_files
from npusim.conformance.replay import Result, replay

__all__ = ["Findings", "Result", "conform", "golden_files", "replay"]

"""Replay recorded vectors of the reference through npusim's own execution path.

Tables of the vendor's estimator and of published times are compared with the performance model,
recorded models of other frameworks with what importer and float evaluator make of them.
"""

from npusim.conformance.importers import ImporterResult
from npusim.conformance.inputs import Findings, conform, golden_files
from npusim.conformance.replay import Result, replay

__all__ = ["Findings", "ImporterResult", "Result", "conform", "golden_files", "replay"]

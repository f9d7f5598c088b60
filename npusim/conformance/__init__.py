"""Replay recorded vectors of the reference through npusim's own execution path."""

from npusim.conformance.replay import Result, conform, golden_files, replay

__all__ = ["Result", "conform", "golden_files", "replay"]

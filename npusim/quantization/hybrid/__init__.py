"""Hybrid quantization: layers with number formats of their own, and its files."""

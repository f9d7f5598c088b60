"""Accuracy on a labelled set: float beside quantized, in processes or on a cluster."""

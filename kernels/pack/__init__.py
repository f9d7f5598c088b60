"""Weights and geometry of convolutions, laid out once when a network is loaded. Numpy only."""

"""Keras models: .h5 of Keras 1 to 3, and .keras."""

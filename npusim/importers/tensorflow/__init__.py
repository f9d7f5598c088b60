"""TensorFlow frozen graphs."""

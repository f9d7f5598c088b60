"""From a float graph and samples to a quantized graph."""

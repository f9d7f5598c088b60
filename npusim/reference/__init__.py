"""The float evaluator: what a network means before it is quantized."""

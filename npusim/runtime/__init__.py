"""Runs graphs: the float evaluator, the bindings to exact kernels and the compiled program."""

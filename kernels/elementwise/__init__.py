"""Compiled kernels over single elements: tables, sums, copies, codes to reals."""

"""Exact kernels: free functions over arrays and scalars. Importing them compiles nothing."""

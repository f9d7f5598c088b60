"""Convolutions at run time: phases, layout, and the kernels they are bound to."""

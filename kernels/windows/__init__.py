"""Compiled kernels over windows of pixels, named ``type_operation_isa``.

``int8`` is 8 bits of either sign; a module without a type holds all of them.
"""

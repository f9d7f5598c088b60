"""Packages with the names that scripts for the vendor's toolkit import.

This folder is put on the module path by ``npusim exec``, and its packages are copied by
``npusim exec --install-alias``: everything in it only passes names on.
"""

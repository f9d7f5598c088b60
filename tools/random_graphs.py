"""Random graphs of several operations, as networks contain them."""

from collections.abc import Callable

from random_layers import Draw, Recipe

GRAPHS: dict[str, Callable[[Draw], Recipe]] = {}

"""Names that libraries have dropped since the toolkit's time, for scripts that still say them.

The toolkit ran on Python 3.5 to 3.8 with numpy 1.16, Pillow 5 and PyYAML 3.
"""

import builtins
import sys
from contextlib import ExitStack
from types import ModuleType
from typing import Any

from npusim.clients.hooks import Change, put


def _tell(text: str) -> None:
    print(f"npusim exec: {text}", file=sys.stderr)


def _numpy(numpy: ModuleType, undo: ExitStack) -> None:
    """numpy.float and its like, Python's own types: gone in numpy 1.24."""
    for name in ("bool", "int", "float", "complex", "object", "str"):
        if name not in vars(numpy):
            put(numpy, name, getattr(builtins, name), undo)


def _image(image: ModuleType, undo: ExitStack) -> None:
    """PIL.Image.ANTIALIAS: gone in Pillow 10."""
    if not hasattr(image, "ANTIALIAS"):
        put(image, "ANTIALIAS", vars(image)["LANCZOS"], undo)


def _font(fonts: ModuleType, undo: ExitStack) -> None:
    """``getsize`` of fonts: gone in Pillow 10."""

    def getsize(self: Any, text: str, *rest: Any, **more: Any) -> tuple[int, int]:
        """Return width and height of a text in pixels, from the origin."""
        _, _, right, bottom = self.getbbox(text, *rest, **more)
        return int(right), int(bottom)

    for name in ("ImageFont", "FreeTypeFont", "TransposedFont"):
        font = getattr(fonts, name, None)
        if font is not None and not hasattr(font, "getsize"):
            put(font, "getsize", getsize, undo)


def _draw(drawing: ModuleType, undo: ExitStack) -> None:
    """``textsize`` of drawings: gone in Pillow 10."""

    def textsize(self: Any, text: str, font: Any = None, *rest: Any, **more: Any) -> Any:
        """Return width and height of a text in pixels, from the origin."""
        _, _, right, bottom = self.textbbox((0, 0), text, font, *rest, **more)
        return int(right), int(bottom)

    draw = vars(drawing)["ImageDraw"]
    if not hasattr(draw, "textsize"):
        put(draw, "textsize", textsize, undo)


def _yaml(yaml: Any, undo: ExitStack) -> None:
    """``yaml.load(stream)`` without a loader: refused since PyYAML 6; plain data is read here."""
    load = yaml.load
    told: list[bool] = []

    def plain(stream: Any, Loader: Any = None) -> Any:
        """Read a document; without a loader, plain data only."""
        if Loader is None and not told:
            told.append(True)
            _tell("yaml.load without a loader reads plain data (yaml.SafeLoader)")
        return load(stream, yaml.SafeLoader if Loader is None else Loader)

    put(yaml, "load", plain, undo)


def _time(time: ModuleType, undo: ExitStack) -> None:
    """time.clock: gone in Python 3.8."""
    if not hasattr(time, "clock"):
        put(time, "clock", vars(time)["perf_counter"], undo)


def _collections(collections: ModuleType, undo: ExitStack) -> None:
    """collections.Iterable and its like: in collections.abc only, since Python 3.10."""
    import collections.abc

    for name in collections.abc.__all__:
        if not hasattr(collections, name):
            put(collections, name, getattr(collections.abc, name), undo)


OLD_NAMES: dict[str, Change] = {
    "numpy": _numpy,
    "PIL.Image": _image,
    "PIL.ImageFont": _font,
    "PIL.ImageDraw": _draw,
    "yaml": _yaml,
    "time": _time,
    "collections": _collections,
}

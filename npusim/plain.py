"""Names of models, files and lists as text for people: they never steer a terminal or a table.

``printable`` is what everything that prints uses, ``cell`` what everything that writes CSV uses.
"""

import re
from collections.abc import Iterable
from pathlib import PurePath

_CONTROL = (
    "\x00-\x09\x0b-\x1f\x7f-\x9f"  # C0 but the line end, DEL, C1
    "\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff"  # invisible; other line ends; direction
    "\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f"  # annotations, halves of characters, tags
)
_WITHIN_LINES = re.compile(f"[{_CONTROL}]")
_HALVES = re.compile("[\ud800-\udfff]")
TEXT_RULE = "names are texts of whole characters"
_IN_ONE_LINE = re.compile(f"[\n{_CONTROL}]")
MOST_DIGITS = 18
"""Of numbers in names: what 64 bits hold."""

LONGEST_COMPARED = 400
"""Characters of names that are compared for likeness, which takes their square."""

_FORMULA = ("=", "+", "-", "@", "'")


def printable(text: str, *, lines: bool = False) -> str:
    r"""Return the text with every control character spelled out, ``\x1b`` and so on.

    Parameters
    ----------
    text : str
    lines : bool
        Line ends stay: of a message, not of a name.

    >>> printable("conv\n\x1b[31m")
    'conv\\n\\x1b[31m'
    """
    return (_WITHIN_LINES if lines else _IN_ONE_LINE).sub(_spelled, text)


def _spelled(found: re.Match[str]) -> str:
    return ascii(found.group())[1:-1]


def cell(value: object) -> object:
    """Return what stands for a value in a CSV file: no text in it is a formula.

    Numbers stay what they are. A text that a spreadsheet would compute, and one that begins with an
    apostrophe, gets an apostrophe in front; control characters are spelled out.

    >>> cell("=1+1"), cell(-1.5), cell("-1.5")
    ("'=1+1", -1.5, '-1.5')
    """
    if not isinstance(value, str):
        return value
    text = printable(value)
    return f"'{text}" if text.startswith(_FORMULA) and not _is_number(text) else text


def from_cell(text: str) -> str:
    """Return the text that ``cell`` was given, with control characters as it spelled them."""
    return text[1:] if text.startswith("'") else text


def number_in(text: str) -> int | None:
    """Return the number that a text is the digits of; None when it is none, or absurdly long.

    >>> number_in("17"), number_in("²"), number_in("")
    (17, None, None)
    """
    digits = text.isascii() and text.isdecimal() and len(text) <= MOST_DIGITS
    return int(text) if digits else None


def name_of(path: PurePath) -> str:
    """Return a file's name without its ending as a text that other programs can take for a name.

    Names of files may have bytes that are no text, and control characters.
    """
    return printable(path.stem)


def broken_text(texts: Iterable[object]) -> object:
    """Return the first name that no file in UTF-8 can hold; None when there is none.

    JSON can name halves of characters, and Google's protobuf gives bytes where a name is no text.
    """
    found = tuple(texts)
    try:
        "".join(found).encode()  # type: ignore[arg-type]
    except (UnicodeEncodeError, TypeError):
        return next(text for text in found if not isinstance(text, str) or _HALVES.search(text))
    return None


def utf8(text: str) -> bytes:
    r"""Return JSON text as UTF-8; halves of characters, as in paths that are no text, are escaped.

    >>> utf8('"a' + chr(0xDCE9) + '"')
    b'"a\\udce9"'
    """
    return text.encode("utf-8", "backslashreplace")


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?|[-+](inf|nan)", text) is not None

"""Layer names in file names and index files: no name of a model reaches a path unescaped."""

import hashlib
import re
from urllib.parse import quote, unquote

LONGEST = 150  # characters of a name in a file name; file systems allow 255 bytes for all of it
_PLAIN = "._-@"  # besides letters and digits


def file_part(layer: str) -> str:
    """Return a layer id as a part of a file name.

    ``/`` becomes ``_``, as in the vendor's snapshots. Everything else but letters, digits and
    ``._-@`` becomes ``%XX`` of its UTF-8 bytes, as does a leading dot. A long name keeps its end,
    where the uid is, and gets a digest in front of it.

    >>> file_part("MobilenetV1/Conv2d_0/Relu6_12")
    'MobilenetV1_Conv2d_0_Relu6_12'
    >>> file_part("a b:c_7")
    'a%20b%3Ac_7'
    """
    text = quote(layer.replace("/", "_"), safe=_PLAIN).replace("~", "%7E")
    if text.startswith("."):
        text = "%2E" + text[1:]
    if len(text) > LONGEST:
        digest = hashlib.sha256(layer.encode()).hexdigest()[:12]
        text = f"{text[: LONGEST // 2]}~{digest}~{re.sub('%.?$', '', text[-LONGEST // 3 :])}"
    return text


def origin_text(origin: tuple[str, ...]) -> str:
    """Return source nodes separated by blanks; blanks, quotes and ``%`` in them become ``%XX``.

    >>> origin_text(("conv 1", "relu"))
    'conv%201 relu'
    """
    return " ".join(re.sub(r"[%\s\"]", lambda m: quote(m.group()), name) for name in origin)


def origin_from(text: str) -> tuple[str, ...]:
    """Return the source nodes of ``origin_text``."""
    return tuple(unquote(word) for word in text.split())

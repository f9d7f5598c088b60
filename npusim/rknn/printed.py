"""Small reports that the toolkit prints or returns as text."""

from collections.abc import Sequence

from npusim import __version__
from npusim.ir.targets import FAMILY, SIMULATED

RULE = "=" * 46
TOOLKIT = "1.7.3"
"""The release whose interface is followed: the last one with a simulator for this chip."""


def sdk_version() -> str:
    """Return the text of ``get_sdk_version``."""
    line = f"{TOOLKIT} (npusim build: {__version__} simulator)"
    return f"{RULE}\nRKNN VERSION:\n  API: {line}\n  DRV: {line}\n{RULE}\n"


def devices() -> str:
    """Return the text of ``list_devices``: there is no board, only the simulator."""
    stars = "*" * 25
    chips = ", ".join(SIMULATED)
    return f"{stars}\nNone devices connected.\nsimulator: npusim {__version__} ({chips})\n{stars}"


def support(filled: Sequence[str]) -> tuple[str, dict[str, list[str]]]:
    """Return the text and the value of ``list_support_target_platform``."""
    names = [name.upper() for name in filled]
    able = [name.upper() for name in FAMILY] if set(filled) & set(FAMILY) else names
    stars = "*" * 50
    text = (
        f"{stars}\n"
        f"Target platforms filled in RKNN model:         {names}\n"
        f"Target platforms supported by this RKNN model: {able}\n"
        f"{stars}"
    )
    return text, {"filled_target_platform": names, "support_target_platform": able}

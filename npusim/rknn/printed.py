"""Small reports that the toolkit prints or returns as text."""

from collections.abc import Sequence

from npusim import __version__
from npusim.ir.targets import FAMILY, OTHER_FAMILY, OTHER_NAMES, SIMULATED

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
    """Return the text and the value of ``list_support_target_platform`` for a model."""
    names = [name.upper() for name in filled]
    own = next((group for group in _families() if set(names) & set(group)), tuple(names))
    able = list(own)
    stars = "*" * 50
    text = (
        f"{stars}\n"
        f"Target platforms filled in RKNN model:         {names}\n"
        f"Target platforms supported by this RKNN model: {able}\n"
        f"{stars}"
    )
    return text, {"filled_target_platform": names, "support_target_platform": able}


def all_platforms() -> str:
    """Return the text of ``list_support_target_platform`` without a model."""
    stars = "*" * 50
    lines = [f"chip family {n}: {','.join(names)}" for n, names in enumerate(_families(), 1)]
    return "\n".join([stars, "All RKNN Toolkit supported target platforms:", *lines, stars])


def _families() -> tuple[tuple[str, ...], ...]:
    """Return the platforms by family, in capitals, with all names of each.

    Source: published output of RKNN-Toolkit Lite 1.7 without a model.
    """
    groups = (FAMILY, OTHER_FAMILY)
    return tuple(
        tuple(
            each.upper()
            for name in group
            for each in (name, *(o for o, meant in OTHER_NAMES.items() if meant == name))
        )
        for group in groups
    )

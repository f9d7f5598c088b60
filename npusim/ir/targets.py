"""The chips by name, and whose arithmetic is known."""

from npusim.errors import ConfigError

SIMULATED = ("rk1808", "rk3399pro")
FAMILY = ("rk1806", *SIMULATED)
"""Chips whose core the arithmetic was measured on, and the smaller one of the same make."""
OTHER_FAMILY = ("rv1109", "rv1126")
"""Chips of the same IP family; files are not exchanged with the others. Their arithmetic is taken
to be the same: it was not measured."""
CHIPS = FAMILY + OTHER_FAMILY
OTHER_NAMES = {"rk1109": "rv1109", "rk1126": "rv1126"}
"""Names that the toolkit takes as well, and the chips they mean. Source: what its call
list_support_target_platform() prints."""


def chip_named(name: object) -> str:
    """Return the chip that a name means, in lower case; it may be unknown."""
    target = str(name).strip().lower()
    return OTHER_NAMES.get(target, target)


def checked_target(name: str, *, where: str = "target") -> str:
    """Return the name of a chip in lower case.

    Raises
    ------
    ConfigError
        Naming the chips that are known.
    """
    target = chip_named(name)
    if target not in CHIPS:
        raise ConfigError(
            f"no chip is called {name!r}",
            where=where,
            rule=f"one of {', '.join(CHIPS)}",
            remedy="leave it out for rk1808",
        )
    return target


def assumption(target: str) -> str:
    """Return what has to be said about a chip's arithmetic; empty when it is known."""
    if target.lower() not in OTHER_FAMILY:
        return ""
    return (
        f"{target}: its arithmetic was not measured, npusim computes that of the RK1808, which has "
        "the same IP family; times are the chip's own"
    )

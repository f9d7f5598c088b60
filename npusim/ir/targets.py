"""The chips by name: which are simulated, and which only the performance model knows."""

from npusim.errors import ConfigError

SIMULATED = ("rk1808", "rk3399pro")
FAMILY = ("rk1806", *SIMULATED)
"""Chips with the same arithmetic."""
OTHER_FAMILY = ("rv1109", "rv1126")
"""Chips that are priced and not simulated."""


def checked_target(name: str, *, where: str = "target") -> str:
    """Return the name of a simulated chip in lower case.

    Raises
    ------
    ConfigError
        Naming the chips that are known.
    """
    target = str(name).strip().lower()
    if target not in FAMILY:
        known = f"one of {', '.join(FAMILY)}"
        priced = "npusim estimates its times only (npusim perf); its arithmetic is unknown"
        raise ConfigError(
            f"{name!r} is not simulated"
            if target in OTHER_FAMILY
            else f"no chip is called {name!r}",
            where=where,
            rule=known,
            remedy=priced if target in OTHER_FAMILY else "leave it out for rk1808",
        )
    return target

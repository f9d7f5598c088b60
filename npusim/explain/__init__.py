"""What a warning means, at length: one page of Markdown per code, installed with the package.

A warning ends in ``see(code)``; ``npusim explain CODE`` prints the page. The file's name is the
code and its first line ``# TITLE``; every page says what the chip does, what npusim does, and the
way out.
"""

from difflib import get_close_matches
from functools import cache
from importlib.resources import files

from npusim.errors import ConfigError


@cache
def codes() -> tuple[str, ...]:
    """Return the codes of all pages, in alphabetical order."""
    names = [entry.name for entry in (files(__name__) / "pages").iterdir()]
    return tuple(sorted(name.removesuffix(".md") for name in names if name.endswith(".md")))


@cache
def page(code: str) -> str:
    """Return the page of a code as Markdown.

    Raises
    ------
    ConfigError
        No page has this code; the nearest ones are named.
    """
    if code not in codes():
        near = get_close_matches(code, codes(), 3, 0.5)
        raise ConfigError(
            f"no page explains {code!r}",
            rule="codes stand at the end of warnings",
            remedy=f"did you mean {', '.join(near)}?" if near else "npusim explain lists all codes",
        )
    return (files(__name__) / "pages" / f"{code}.md").read_text(encoding="utf-8")


def title(code: str) -> str:
    """Return the first line of a code's page, without its mark."""
    return page(code).partition("\n")[0].removeprefix("# ")


def see(code: str) -> str:
    """Return the pointer that a warning ends in; the code must have a page."""
    title(code)
    return f"(npusim explain {code})"

"""Hooks of the documents' site: pages that nobody listed, and links to files outside of docs/."""

import re
from pathlib import Path
from typing import Any

FOLDERS = "tests|tools|npusim|benchmarks|examples|kernels|perfmodel"
OUTSIDE = re.compile(rf"\[([^\]]*)\]\((?:\.\./)+((?:[A-Z]+\.md|{FOLDERS})[^)]*)\)")


def listed(entry: Any) -> list[str]:
    """Return the pages of a navigation entry."""
    if isinstance(entry, str):
        return [entry]
    values = entry.values() if isinstance(entry, dict) else entry
    return [page for value in values for page in listed(value)]


def unlisted(nav: Any, docs: Path) -> list[str]:
    """Return the pages of docs/ that a navigation lacks; those of arithmetic/ have an index."""
    known = {*listed(nav), *(f"arithmetic/{p.name}" for p in (docs / "arithmetic").glob("*.md"))}
    found = sorted(path.relative_to(docs).as_posix() for path in docs.rglob("*.md"))
    return [page for page in found if page not in known]


def on_config(config: Any) -> Any:
    """Return the settings with pages under "More" that the navigation lacks."""
    if more := unlisted(config["nav"], Path(config["docs_dir"])):
        config["nav"].append({"More": more})
    return config


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Return a page whose links to files outside of docs/ are their names."""
    return OUTSIDE.sub(r"\1 (`\2`)", markdown)

"""Hook of the documents' site: links out of docs/ are to the repository, not to the site."""

import re
from typing import Any

FOLDERS = "tests|tools|npusim|benchmarks|examples|kernels|perfmodel"
OUTSIDE = re.compile(rf"\[([^\]]*)\]\((?:\.\./)+((?:[A-Z]+\.md|{FOLDERS})[^)]*)\)")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Return a page whose links to files outside of docs/ are their names."""
    return OUTSIDE.sub(r"\1 (`\2`)", markdown)

"""From plain values to one HTML file that needs nothing else: no network, no other file."""

import base64
import hashlib
import json
from importlib.resources import files
from pathlib import Path
from typing import Any

from npusim.errors import ConfigError
from npusim.extras import require
from npusim.ir.atomic import atomic_write

EXTRA = "report"
TEMPLATE = "report.html.j2"
# what could end a script block, begin markup, or end a line of JavaScript
_UNSAFE = {ord(sign): f"\\u{ord(sign):04x}" for sign in "<>&\u2028\u2029"}


def require_templates() -> Any:
    """Return Jinja2.

    Raises
    ------
    MissingExtraError
        Without it, naming the extra; commands ask before they begin.
    """
    return require("jinja2", extra=EXTRA, purpose="writing a report page")


def json_text(data: Any) -> str:
    r"""Return JSON that can stand inside of a script element, whatever names it holds.

    >>> json_text({"name": "</script><b>"})
    '{"name":"\\u003c/script\\u003e\\u003cb\\u003e"}'
    """
    text = json.dumps(data, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    # lone surrogates, which names of damaged models hold, have no UTF-8
    text = text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
    return text.translate(_UNSAFE)


def render(data: dict[str, Any]) -> str:
    """Return the page.

    Parameters
    ----------
    data : dict
        From ``page_data``.
    """
    jinja2 = require_templates()
    static = files("npusim.report.page") / "static"
    css = (static / "report.css").read_text(encoding="utf-8")
    parts = sorted((part for part in (static / "js").iterdir()), key=lambda part: part.name)
    script = "\n".join(
        part.read_text(encoding="utf-8") for part in parts if part.name.endswith(".js")
    )
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, keep_trailing_newline=True
    )
    template = environment.from_string((static / TEMPLATE).read_text(encoding="utf-8"))
    markup = jinja2.utils.markupsafe.Markup
    page: str = template.render(
        page=data,
        data=markup(json_text(data)),
        css=markup(css),
        js=markup(script),
        csp=policy(css, script),
    )
    return page


def policy(css: str, script: str) -> str:
    """Return the content security policy: these two blocks and embedded pictures, nothing else."""
    return (
        f"default-src 'none'; script-src '{_digest(script)}'; style-src '{_digest(css)}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def require_place(path: Path) -> None:
    """Refuse a file that cannot be written because of its folder, before anything is measured.

    Raises
    ------
    ConfigError
        When the folder is missing, or the path is a folder.
    """
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise ConfigError(
            "the report cannot be written: "
            + ("this is a folder" if path.is_dir() else "there is no such folder"),
            where=str(path),
            remedy="give a file in a folder that exists and can be written",
        )


def write_page(data: dict[str, Any], path: str | Path) -> Path:
    """Write the page, completely or not at all; return its path.

    Raises
    ------
    ConfigError
        When the file cannot be written.
    MissingExtraError
        Without Jinja2.
    """
    text = render(data).encode("utf-8", "replace")
    try:
        with atomic_write(path) as file:
            file.write(text)
    except OSError as error:
        raise ConfigError(
            f"the report cannot be written: {error.strerror}",
            where=str(path),
            remedy="give a file in a folder that exists and can be written",
        ) from error
    return Path(path)

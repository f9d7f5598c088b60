"""A real browser, without a network, that reports every complaint of the page."""

import os
import shutil
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any
from urllib.parse import quote

import pytest

from npusim.report.page.write import write_page
from tests.report.browser.fixture import bare_data, page_data

ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
REQUIRED = "NPUSIM_REQUIRE_BROWSER"  # set in CI: a missing browser fails there
PROGRAM = "NPUSIM_CHROMIUM"  # path of a browser that is not found by name
NAMES = ("chromium", "chromium-browser", "google-chrome")
FOLLOW = """hash => new Promise(done => {
  if (location.hash === hash) return done();
  addEventListener("hashchange", () => done(), { once: true });
  location.hash = hash;
})"""
SETTLED = """() => new Promise(done => {
  // a followed link changes the address at once, and the page at the event that comes later
  const begin = performance.now();
  const look = () => {
    if (window.shownHash === location.hash || performance.now() > begin + 1000) return done();
    setTimeout(look, 5);
  };
  look();
})"""
FOLLOWED = """window.shownHash = location.hash;
addEventListener("hashchange", () => setTimeout(() => { window.shownHash = location.hash; }));
"""
VIEWS = ("summary", "network", "layers", "time", "outputs", "whatif")


def _program() -> str | None:
    found = (shutil.which(name) for name in NAMES)
    return os.environ.get(PROGRAM) or next(filter(None, found), None)


def needs_browser() -> None:
    """Skip the module that asks, in one line; in CI a missing browser is an error."""
    missing = []
    if find_spec("playwright") is None:
        missing.append("pip install '.[browser]'")
    if _program() is None:
        missing.append(f"apt-get install chromium, or name a browser in {PROGRAM}")
    if missing:
        reason = "browser tests of the report page need: " + "; ".join(missing)
        if os.environ.get(REQUIRED):
            raise RuntimeError(reason)
        pytest.skip(reason, allow_module_level=True)


@pytest.fixture(scope="session")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=_program(), args=list(ARGUMENTS))
        yield opened
        opened.close()


@dataclass(kw_only=True)
class Opened:
    """A page with its data and what the browser had to complain of."""

    page: Any
    data: dict[str, Any]
    address: str
    complaints: list[str] = field(default_factory=list)

    def go(self, view: str | None = None, layer: str | None = None) -> None:
        """Follow a link of the page."""
        parts = [f"view={view}"] if view else []
        parts += [f"layer={quote(layer, safe='')}"] if layer else []
        self.page.evaluate(FOLLOW, "#" + "&".join(parts))

    @property
    def layer(self) -> str | None:
        """Id of the layer that is open."""
        self.settle()
        return self.page.evaluate(
            "document.getElementById('panel').hidden ? null "
            ": new URLSearchParams(location.hash.slice(1)).get('layer')"
        )

    def settle(self) -> None:
        """Wait until the page shows what the address says."""
        self.page.evaluate(SETTLED)

    def press(self, key: str) -> None:
        """Press a key, and wait until the page has followed."""
        self.page.keyboard.press(key)
        self.settle()

    def click(self, where: Any) -> None:
        """Click on a locator or selector, and wait until the page has followed."""
        (self.page.locator(where) if isinstance(where, str) else where).click()
        self.settle()

    def ids(self, selector: str, attribute: str = "data-id") -> list[str]:
        """Return an attribute of all elements, in the order of the document."""
        return self.page.evaluate(
            "([where, name]) => [...document.querySelectorAll(where)]"
            ".map(e => e.getAttribute(name))",
            [selector, attribute],
        )


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Pages by name, each written once: (data, address)."""
    makers = {"small": page_data, "large": lambda: page_data(2000), "bare": bare_data}
    folder = tmp_path_factory.mktemp("pages")
    done: dict[str, tuple[dict[str, Any], str]] = {}

    def write(name: str) -> tuple[dict[str, Any], str]:
        if name not in done:
            data = makers[name]()
            done[name] = data, write_page(data, folder / f"{name}.html").as_uri()
        return done[name]

    return write


@pytest.fixture(scope="session")
def context_of(browser: Any) -> Any:
    """Return the context, without a network, of some options."""
    made: dict[str, Any] = {}

    def context(**options: Any) -> Any:
        key = repr(sorted(options.items()))
        if key not in made:
            made[key] = browser.new_context(offline=True, **options)
            made[key].set_default_timeout(15_000)
        return made[key]

    return context


@pytest.fixture
def open_page(context_of: Any, written: Any) -> Any:
    """Open a page; at the end nobody may have complained."""
    pages: list[Opened] = []

    def opening(
        name: str | tuple[dict[str, Any], str] = "small",
        hash: str = "",
        before: Any = None,
        **options: Any,
    ) -> Opened:
        options = {"viewport": {"width": 1280, "height": 800}} | options
        context = context_of(**options)
        data, address = written(name) if isinstance(name, str) else name
        opened = Opened(page=context.new_page(), data=data, address=address)
        pages.append(opened)
        note = opened.complaints.append
        page = opened.page
        page.on("pageerror", lambda error: note(f"error: {error}"))
        page.on("console", lambda message: note(f"console: {message.type} {message.text}"))
        page.on("dialog", lambda dialog: (note(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on(
            "request",
            lambda request: (
                note(f"request: {request.url}")
                if request.url.split("#")[0] != address and not request.url.startswith("data:")
                else None
            ),
        )
        page.add_init_script(FOLLOWED)
        page.add_init_script(
            "addEventListener('securitypolicyviolation', event => "
            "console.error('policy', event.violatedDirective, event.blockedURI))"
        )
        if before is not None:
            before(page)
        page.goto(address + hash)
        if options.get("java_script_enabled", True):
            page.wait_for_selector("html[data-ready]", state="attached")
        return opened

    yield opening
    found = [line for opened in pages for line in opened.complaints]
    for opened in pages:
        opened.page.close()
    assert not found

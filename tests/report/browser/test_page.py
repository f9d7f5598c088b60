"""The report page in a real browser: what it shows is what the data holds."""

import csv
import io
import re
from itertools import pairwise

import pytest

from tests.report.browser.conftest import VIEWS, needs_browser
from tests.report.browser.fixture import HOSTILE, NASTY

needs_browser()
MISSING = "\u2013"
HIDDEN_SIGNS = {"\u202e": "\\u202e", "\u2028": "\\u2028"}


def shown(name: str) -> str:
    """Return a name as the page writes it: signs that turn text are codes."""
    for sign, code in HIDDEN_SIGNS.items():
        name = name.replace(sign, code)
    return name


def test_every_view_without_network_or_complaint(open_page):
    opened = open_page()
    for view in VIEWS:
        opened.click(f"#tab-{view}")
        assert opened.page.is_visible(f"#view-{view}")
        assert len(opened.page.inner_text(f"#view-{view}")) > 100
        assert opened.page.evaluate("location.hash") == f"#view={view}"


def test_causes_are_those_of_the_data(open_page):
    opened = open_page()
    causes = opened.data["causes"]
    assert opened.ids(".cause", "data-layer") == [cause["layer"] for cause in causes]
    first = opened.page.locator(".cause").first
    text = first.inner_text()
    for expected in (causes[0]["advice"], "+12.5 µs", "8.1 dB", *causes[0]["evidence"]):
        assert expected in text
    for paste, block in zip(causes[0]["paste"], first.locator("pre").all(), strict=True):
        assert block.inner_text().rstrip("\n") == paste["text"].rstrip("\n")
    inherited = first.locator("details a")
    assert not inherited.first.is_visible()
    opened.click(first.locator("summary"))
    assert inherited.all_inner_texts() == [shown(name) for name in causes[0]["inherited"]]
    opened.click(first.locator("h3 a"))
    assert opened.layer == causes[0]["layer"]
    assert causes[0]["title"].split(" in ")[0] in opened.page.inner_text("#panel")


def test_copy_gives_the_text_of_the_data(open_page):
    opened = open_page(permissions=["clipboard-read", "clipboard-write"])
    opened.click(opened.page.locator(".cause .copy").first)
    opened.page.wait_for_selector(".cause .copy:has-text('Copied')")
    text = opened.page.evaluate("navigator.clipboard.readText()")
    assert text == opened.data["causes"][0]["paste"][0]["text"]


def test_every_layer_has_a_link(open_page):
    opened = open_page()
    names = [layer["id"] for layer in opened.data["layers"]]
    titles = opened.page.evaluate(
        """async names => {
          const titles = [];
          for (const name of names) {
            const done = new Promise(next => addEventListener("hashchange", next, { once: true }));
            location.hash = `#layer=${encodeURIComponent(name)}`;
            await done;
            titles.push(document.getElementById("layer-title").textContent);
          }
          return titles;
        }""",
        names,
    )
    assert titles == [shown(name) for name in names]


def test_link_opens_the_network_at_the_layer(open_page):
    name = "backbone/stage0/block7/conv"
    opened = open_page(hash="#layer=" + name.replace("/", "%2F"))
    assert opened.page.is_visible("#view-network")
    assert opened.ids(".node.selected") == [name]
    assert opened.page.locator(".node.selected").is_visible()


def test_unknown_layer_and_view_are_no_error(open_page):
    opened = open_page(hash="#layer=none&view=nowhere")
    assert opened.page.is_visible("#view-summary")
    assert opened.layer is None
    assert "no layer none" in opened.page.inner_text("[role=status]")


def test_panel_shows_what_is_known_of_a_layer(open_page):
    opened = open_page()
    layer = opened.data["layers"][3]
    opened.go("summary", layer["id"])
    panel = opened.page.locator("#panel")
    text = panel.inner_text()
    for expected in ("4.2 dB", "-1 to 3", "-0.8 to 6.5", "0.01569", "Operands, each by itself"):
        assert expected in text
    for name in [*layer["origin"], *layer["inputs"], *layer["outputs"]]:
        assert shown(name) in text
    assert panel.locator("circle.dot").count() == len(layer["detail"]["scatter"])
    assert panel.locator("path.quantized-line").count() == 1
    assert panel.locator("rect.range-seen").count() == 1
    assert panel.locator("td", has_text=re.compile("^2.5 dB$")).count() == 1
    opened.go("summary", opened.data["layers"][4]["id"])
    assert "The error comes from" in panel.inner_text()


def test_back_returns_to_the_layer_before(open_page):
    opened = open_page()
    names = [layer["id"] for layer in opened.data["layers"]]
    opened.press("]")
    opened.press("]")
    assert opened.layer == names[1]
    opened.page.go_back()
    assert opened.layer == names[0]
    opened.press("Escape")
    assert opened.layer is None


def test_click_on_a_node(open_page):
    opened = open_page()
    opened.press("2")
    node = opened.page.locator(".node[data-id$='block7/conv']")
    opened.click(node)
    assert opened.layer == "backbone/stage0/block7/conv"
    assert opened.page.get_attribute(".edges.into", "d").count("M") == 1


def test_colours_follow_the_choice(open_page):
    opened = open_page(hash="#view=network")

    def step(index):
        node = opened.page.locator(".node[data-id]").nth(index)
        return set(node.get_attribute("class").split()) - {"node", "selected"}

    order = opened.ids(".node[data-id]")
    worst = order.index(opened.data["layers"][3]["id"])
    assert step(worst) == {"k6"}
    opened.page.select_option("#colour", "entire")
    unmeasured = order.index(opened.data["layers"][12]["id"])
    assert step(unmeasured) == {"none"}
    opened.page.select_option("#colour", "engine")
    assert step(worst) == {"c0"}  # one of the engine with most layers: TP
    assert opened.page.locator(".legend li").count() == 3
    opened.page.select_option("#colour", "format")
    assert opened.page.locator(".legend li").all_inner_texts() == ["u8", "i16"]


def test_groups_fold_and_open_for_a_link(open_page):
    opened = open_page(hash="#view=network")
    members = opened.data["layout"]["groups"][0]["members"]
    before = opened.page.get_attribute(".edges", "d").count("M")
    opened.click("button[aria-label='Fold all groups']")
    inside = sum(
        1
        for a, b in opened.data["edges"]
        if any(a in g["members"] and b in g["members"] for g in opened.data["layout"]["groups"])
    )
    assert inside > 0
    assert opened.page.get_attribute(".edges", "d").count("M") == before - inside
    node = opened.page.locator(f".node[data-id='{members[-1]}']")
    assert not node.is_visible()
    opened.go(layer=members[-1])
    assert node.is_visible()
    opened.page.focus("svg.network")
    opened.press("f")
    assert not node.is_visible()


def test_search_finds_names_operators_and_source_nodes(open_page):
    opened = open_page(hash="#view=network")
    opened.press("/")
    opened.page.keyboard.type("/model/17/")
    assert opened.ids(".node.hit") in ([], [opened.data["layers"][17]["id"]])
    opened.press("Enter")
    assert opened.layer == opened.data["layers"][17]["id"]
    opened.page.fill("#search", "softmax")
    count = sum(layer["op"] == "Softmax" for layer in opened.data["layers"])
    assert opened.page.inner_text("output[for=search]").startswith(f"{count} found")


def test_arrow_keys_go_along_edges(open_page):
    opened = open_page(hash="#view=network")
    opened.page.focus("svg.network")
    opened.press("Home")
    names = [layer["id"] for layer in opened.data["layers"]]
    assert opened.layer == names[0]
    edges = {tuple(edge) for edge in opened.data["edges"]}
    visited = [names[0]]
    for _ in range(5):
        opened.press("ArrowDown")
        visited.append(opened.layer)
    assert all(pair in edges for pair in pairwise(visited))
    opened.press("ArrowUp")
    assert (opened.layer, visited[-1]) in edges
    zoom = opened.page.get_attribute("svg.network > g", "transform")
    opened.press("+")
    assert opened.page.get_attribute("svg.network > g", "transform") != zoom


def test_narrow_screen_shows_the_node_above_its_panel(open_page):
    opened = open_page(hash="#view=network", viewport={"width": 390, "height": 844})
    opened.go("network", opened.data["layers"][-1]["id"])
    node = opened.page.locator(".node.selected").bounding_box()
    panel = opened.page.locator("#panel").bounding_box()
    assert node["y"] + node["height"] <= panel["y"]


def test_wheel_and_drag_move_the_network(open_page):
    opened = open_page(hash="#view=network")

    def place():
        return opened.page.get_attribute("svg.network > g", "transform")

    box = opened.page.locator("svg.network").bounding_box()
    middle = (box["x"] + 40, box["y"] + box["height"] / 2)
    first = place()
    opened.page.mouse.move(*middle)
    opened.page.mouse.wheel(0, 120)
    opened.page.evaluate("new Promise(requestAnimationFrame)")
    assert place() != first
    second = place()
    opened.page.mouse.down()
    opened.page.mouse.move(middle[0] + 60, middle[1] + 30, steps=4)
    opened.page.mouse.up()
    assert place() != second
    assert opened.layer is None


def column(opened, key):
    index = opened.ids("#layers th", "data-key").index(key) + 1
    return opened.page.locator(f"#layers tbody td:nth-child({index})").all_inner_texts()


def test_table_sorts_and_leaves_what_is_unmeasured_last(open_page):
    opened = open_page(hash="#view=layers")
    layers = opened.data["layers"]
    assert opened.ids("#layers tbody tr") == [layer["id"] for layer in layers]
    opened.click("th[data-key=entire_sqnr_db] button")
    known = sorted(x["entire_sqnr_db"] for x in layers if x["entire_sqnr_db"] is not None)
    expected = [f"{value:.1f}" for value in known]
    got = [text.strip() for text in column(opened, "entire_sqnr_db")]
    assert [float(text) for text in got[:-1]] == pytest.approx(
        [float(t) for t in expected], abs=0.1
    )
    assert got[-1] == MISSING
    opened.click("th[data-key=entire_sqnr_db] button")
    assert opened.page.get_attribute("th[data-key=entire_sqnr_db]", "aria-sort") == "descending"
    got = [text.strip() for text in column(opened, "entire_sqnr_db")]
    assert got[0] == expected[-1]
    assert column(opened, "alone_sqnr_db")[0].strip() == "exact"
    assert got[-1] == MISSING
    opened.click("th[data-key=time_us] button")
    by_time = sorted(layers, key=lambda x: -x["time_us"])
    assert opened.ids("#layers tbody tr") == [layer["id"] for layer in by_time]


def test_table_filters_and_saves_what_is_seen(open_page):
    opened = open_page(hash="#view=layers")
    layers = opened.data["layers"]
    opened.page.select_option("[data-filter=op]", "Conv")
    convs = [layer["id"] for layer in layers if layer["op"] == "Conv"]
    assert opened.ids("#layers tbody tr") == convs
    assert opened.page.inner_text("#row-count") == f"{len(convs)} of {len(layers)} layers"
    opened.page.select_option("[data-filter=op]", "")
    opened.page.select_option("[data-filter=severity]", "bad")
    with opened.page.expect_download() as saving:
        opened.click("#csv")
    text = saving.value.path().read_text(encoding="utf-8")
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    bad = [layer for layer in layers if layer["severity"] == "bad"]
    # a spreadsheet must not run a name as a formula
    assert [row["id"] for row in rows] == [
        "'" + layer["id"] if layer["id"].startswith("=") else layer["id"] for layer in bad
    ]
    assert [float(row["alone_sqnr_db"]) for row in rows] == [x["alone_sqnr_db"] for x in bad]


def test_table_by_keyboard(open_page):
    opened = open_page(hash="#view=layers")
    opened.page.focus("#layers tbody tr")
    for _ in range(3):
        opened.press("ArrowDown")
    opened.press("Enter")
    assert opened.layer == opened.data["layers"][3]["id"]
    opened.press("Enter")
    assert opened.page.evaluate("document.activeElement.id") == "layer-title"
    opened.press("Escape")
    focused = opened.page.evaluate("document.activeElement.getAttribute('data-id')")
    assert (opened.layer, focused) == (None, opened.data["layers"][3]["id"])
    opened.page.focus("#tab-layers")
    opened.press("ArrowRight")
    assert opened.page.is_visible("#view-time")
    opened.press("?")
    assert opened.page.is_visible("dialog#keys")
    opened.press("Escape")
    assert not opened.page.is_visible("dialog#keys")


def test_time_says_what_the_roofline_leaves_out(open_page):
    opened = open_page(hash="#view=time")
    assert opened.page.inner_text("#not-shown").startswith("68 %")
    points = opened.data["time"]["roofline"]["points"]
    drawn = [point for point in points if point["intensity"] > 0 and point["performance"] > 0]
    assert opened.page.locator(".roof circle").count() == len(drawn)
    assert opened.page.locator(".timeline .block").count() == len(opened.data["layers"])
    longest = max(opened.data["layers"], key=lambda layer: layer["time_us"])
    opened.click(opened.page.locator("table.bars a").first)
    assert opened.layer == longest["id"]


def test_outputs_and_what_if(open_page):
    opened = open_page(hash="#view=outputs")
    text = opened.page.inner_text("#view-outputs")
    for expected in ("41.0 dB", "1.5 dB", "0.9100", "0.6200", "top-1", "-0.06"):
        assert expected in text
    assert opened.page.evaluate("document.querySelector('.picture img').naturalWidth") == 96
    assert opened.page.locator(".boxes rect").count() == 2
    assert opened.page.locator(".boxes text").count() == 2
    opened.go("whatif")
    assert opened.page.locator("#whatif tbody tr").count() == len(opened.data["vs"]["rows"])
    rows = opened.page.locator("#tuning tbody tr").all_inner_texts()
    assert [row.split()[0] for row in rows] == ["as", "chosen", MISSING]
    assert "+5.0 %" in rows[1]
    assert rows[2].split()[-1] == "5"


def test_hostile_names_stay_text(open_page):
    opened = open_page()
    for view in VIEWS:
        opened.go(view, NASTY[0])
    assert opened.page.title() == f"net {HOSTILE} - npusim report"
    assert opened.page.evaluate("document.querySelectorAll('img').length") == 1
    assert opened.page.evaluate("document.querySelectorAll('script').length") == 2
    assert HOSTILE in opened.page.inner_text(".masthead h1")
    opened.go("layers")
    assert column(opened, "id")[: len(NASTY)] == [shown(name) for name in NASTY]


def test_two_thousand_layers_open_at_once(open_page):
    meters = []

    def measure(page):
        # processor time of the page: other tests run on this machine as well
        meters.append(page.context.new_cdp_session(page))
        meters[0].send("Performance.enable", {"timeDomain": "threadTicks"})

    opened = open_page("large", hash="#view=network", before=measure)
    opened.page.wait_for_selector(".node[data-id]")
    metrics = meters[0].send("Performance.getMetrics")["metrics"]
    (used_s,) = (row["value"] for row in metrics if row["name"] == "ThreadTime")
    assert used_s < 1.0
    last = opened.data["layers"][-1]["id"]
    spent = opened.page.evaluate(
        """async id => {
          const begin = performance.now();
          location.hash = `#view=network&layer=${encodeURIComponent(id)}`;
          const paint = () => new Promise(requestAnimationFrame);
          while (!document.querySelector(".node.selected")) await paint();
          return performance.now() - begin;
        }""",
        last,
    )
    assert opened.ids(".node.selected") == [last]
    assert spent < 2000
    opened.click("button[aria-label='Fit the whole network']")
    assert opened.page.locator(".node[data-id]").count() == 2000
    opened.go("layers")
    assert 0 < opened.page.locator("#layers tbody tr").count() < 2000
    opened.page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert opened.page.locator("#layers tbody tr").count() == 2000


def test_sections_without_data_say_how_to_get_it(open_page):
    opened = open_page("bare")
    for view, option in (
        ("summary", "causes"),
        ("network", "network"),
        ("time", "time"),
        ("outputs", "outputs"),
        ("outputs", "metrics"),
        ("outputs", "pictures"),
        ("whatif", "vs"),
        ("whatif", "tuning"),
    ):
        opened.go(view)
        assert f"Give --{option} to get it." in opened.page.inner_text(f"#view-{view}")
    assert opened.page.inner_text(".masthead .mark") == "not measured"
    opened.go("layers", opened.data["layers"][0]["id"])
    assert "Give --detail to get it." in opened.page.inner_text("#panel")


@pytest.mark.parametrize("width", [390, 1280])
def test_no_view_is_wider_than_the_window(open_page, width):
    opened = open_page(viewport={"width": width, "height": 800})
    for view in VIEWS:
        for layer in (None, NASTY[3]):
            opened.go(view, layer)
            assert opened.page.evaluate("document.documentElement.scrollWidth") <= width
            assert opened.page.evaluate("document.querySelector('main').scrollWidth") <= width


def test_light_and_dark(open_page):
    paper = "getComputedStyle(document.body).backgroundColor"
    light = open_page(color_scheme="light").page
    dark = open_page(color_scheme="dark").page
    colours = light.evaluate(paper), dark.evaluate(paper)
    assert colours[0] != colours[1]
    light.click("#theme")  # light
    assert light.evaluate(paper) == colours[0]
    light.click("#theme")  # dark
    assert light.evaluate(paper) == colours[1]


def test_print_shows_all_views(open_page):
    opened = open_page(color_scheme="dark")
    opened.page.evaluate("dispatchEvent(new Event('beforeprint'))")
    opened.page.emulate_media(media="print")
    for view in VIEWS:
        assert opened.page.is_visible(f"#view-{view}")
    assert not opened.page.is_visible("nav")
    assert opened.page.evaluate("getComputedStyle(document.body).backgroundColor") == (
        "rgb(255, 255, 255)"
    )


def test_preview_without_scripts_has_the_verdict(open_page):
    opened = open_page(java_script_enabled=False)
    text = opened.page.inner_text("noscript")
    assert opened.data["head"]["verdict"] in text
    assert opened.data["causes"][0]["advice"] in text
    assert opened.page.locator("img").count() == 0

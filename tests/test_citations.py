"""Every document, section and rule that somebody cites exists, and every number is used once."""

import re
from pathlib import Path

import pytest

from npusim.conformance.allowances import ALLOWANCES

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("npusim", "kernels", "perfmodel", "tests", "tools", "benchmarks", "docs")
# sources that are not in the repository
OUTSIDE = re.compile("ARITHMETIC" + r"_\w+|rknn" + "-api")
NUMBERS = r"\d+(?:\.\d+)?(?:(?:, | and | to | or )\d+(?:\.\d+)?)*"
CITED = re.compile(rf"([\w./-]+\.md)\)?`? (rule|section)s? ({NUMBERS})")
OWN = re.compile(rf"\b(rule|section)s? ({NUMBERS})")
MENTIONED = re.compile(r"\bdocs/[\w/-]+\.\w+")
HEADING = re.compile(r"^#{2,3} (?:Rule )?(\d+(?:\.\d+)?)[.:] ", re.M)


def texts(*suffixes: str) -> list[Path]:
    found = [path for path in ROOT.glob("*") if path.suffix in suffixes]
    for folder in FOLDERS:
        found += [path for path in (ROOT / folder).rglob("*") if path.suffix in suffixes]
    linked = (ROOT / "npusim" / "kernels", ROOT / "npusim" / "perfmodel")
    return sorted(
        path
        for path in found
        if "__pycache__" not in path.parts and not any(link in path.parents for link in linked)
    )


def flowing(path: Path) -> str:
    """Return a file as one line, without the marks of comments."""
    return re.sub(r"\s*\n\s*(?:#\s+)?", " ", path.read_text(encoding="utf-8"))


def numbers_of(document: Path) -> list[str]:
    """Return the numbers of the headings of a document, in order."""
    return HEADING.findall(document.read_text(encoding="utf-8"))


def resolved(name: str, page: Path) -> Path | None:
    """Return the document that a name means on a page."""
    for folder in (page.parent, ROOT / "docs", ROOT / "docs" / "arithmetic", ROOT):
        if (folder / name).is_file():
            return folder / name
    return None


def missing(text: str, page: Path) -> list[str]:
    """Return the citations of a text that lead nowhere."""
    lost = []
    for name, kind, cited in CITED.findall(text):
        document = resolved(name, page)
        known = numbers_of(document) if document else []
        lost += [
            f"{name} {kind} {number}"
            for number in re.split(r", | and | to | or ", cited)
            if number not in known or ("." in number) != (kind == "rule")
        ]
    return lost


DOCUMENTS = texts(".md")
SOURCES = [path for path in texts(".py", ".md") if path != Path(__file__).resolve()]
PAGES = [path for path in DOCUMENTS if numbers_of(path)]


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_citations_exist() -> None:
    lost = {named(path): missing(flowing(path), path) for path in SOURCES}
    assert {path: cited for path, cited in lost.items() if cited} == {}


def test_sources_of_allowances_exist() -> None:
    cited = [entry.source for entry in ALLOWANCES.values()]
    assert all(CITED.match(source) for source in cited)
    assert missing("; ".join(cited), ROOT / "README.md") == []


def test_mentioned_documents_exist() -> None:
    lost = {
        (named(path), name)
        for path in SOURCES
        for name in MENTIONED.findall(flowing(path))
        if not (ROOT / name).is_file()
    }
    assert lost == set()


def test_nothing_outside_the_repository_is_cited() -> None:
    lost = [
        f"{named(path)}: {name}"
        for path in texts(".py", ".md", ".toml", ".cfg", ".yml")
        for name in OUTSIDE.findall(path.read_text(encoding="utf-8"))
    ]
    assert lost == []


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_a_page_cites_its_own_rules(page: Path) -> None:
    known, rest = numbers_of(page), CITED.sub("", flowing(page))
    cited = [number for _, found in OWN.findall(rest) for number in re.split(r"[^\d.]+", found)]
    assert [number for number in cited if number not in known] == []


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_numbers_are_unique_and_ascend(page: Path) -> None:
    numbers = [tuple(map(int, number.split("."))) for number in numbers_of(page)]
    assert numbers == sorted(set(numbers))
    sections = {number[0] for number in numbers if len(number) == 1}
    assert {number[0] for number in numbers} == sections


@pytest.mark.parametrize("page", DOCUMENTS, ids=named)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if not target.startswith(("http:", "https:", "#")):
            assert (page.parent / target.split("#")[0]).exists(), target


def test_the_check_finds_what_is_wrong() -> None:
    page = ROOT / "docs" / "x.md"
    assert missing("docs/arithmetic/nn.md rules 2.1 and 99.1", page) == [
        "docs/arithmetic/nn.md rule 99.1"
    ]
    assert missing("[nn.md](arithmetic/nn.md) section 77", page) == ["arithmetic/nn.md section 77"]
    assert missing("docs/nowhere.md section 1", page) == ["docs/nowhere.md section 1"]
    assert missing("fidelity.md section 1 to 3, tp.md", page) == []

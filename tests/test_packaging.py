"""What pyproject.toml promises is what the tree holds."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_every_package_is_listed():
    found = set()
    for folder, name in (
        ("npusim", "npusim"),
        ("kernels", "npusim.kernels"),
        ("perfmodel", "npusim.perfmodel"),
    ):
        for init in (ROOT / folder).rglob("__init__.py"):
            inner = init.parent.relative_to(ROOT / folder)
            if folder == "npusim" and inner.parts[:1] in (("kernels",), ("perfmodel",)):
                continue
            found.add(".".join((name, *inner.parts)))
    assert found == set(PROJECT["tool"]["setuptools"]["packages"])


def test_links_for_checkouts():
    for name in ("kernels", "perfmodel"):
        link = ROOT / "npusim" / name
        text = str(link.readlink()) if link.is_symlink() else link.read_text(encoding="utf-8")
        assert text.strip() == f"../{name}"


def test_the_version_is_told_once():
    text = (ROOT / "npusim" / "__init__.py").read_text(encoding="utf-8")
    (version,) = re.findall(r'^__version__ = "(.+)"$', text, re.M)
    assert "version" not in PROJECT["project"]
    assert PROJECT["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "npusim.__version__"}
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(r"^## (\S+)", changes, re.M)[1] == version


def test_import_compiles_nothing_and_loads_nothing_heavy():
    code = (
        "import sys, npusim, npusim.rknn\n"
        "heavy = {'numba', 'onnx', 'scipy', 'matplotlib', 'PIL'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "assert 'load_model' in dir(npusim)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_no_machine_paths_or_addresses():
    bad = re.compile(r"(^|[^A-Za-z0-9_./])/(work|root|home|opt|tmp)/[a-z]|pypi\.org|pythonhosted")
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    names = [n for n in listed.stdout.split("\0") if n] if listed.returncode == 0 else []
    for name in names:
        path = ROOT / name
        if path.suffix in {".py", ".md", ".toml", ".txt", ".csv", ".json", ""} and path.is_file():
            if path.samefile(__file__):
                continue
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
                assert not bad.search(line), f"{name}:{number}: {line.strip()[:80]}"

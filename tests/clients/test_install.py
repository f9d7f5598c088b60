"""``npusim exec --install-alias`` and ``--remove-alias``."""

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest

from npusim.clients import install
from npusim.clients.install import install_alias, remove_alias
from npusim.errors import ConfigError

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def site(work, monkeypatch):
    folder = work / "site-packages"
    folder.mkdir()
    monkeypatch.setattr(install, "site_folder", lambda: folder)
    return folder


def files(folder):
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


def test_what_is_written_is_what_is_removed(site, execute):
    (site / "other").mkdir()
    (site / "other" / "__init__.py").write_text("", encoding="utf-8")
    before = files(site)
    found = execute("--install-alias")
    assert found.code == 0
    assert str(site) in found.out
    assert {"rknn/api/__init__.py", "rknnlite/api/__init__.py"} <= files(site)
    (dist,) = importlib.metadata.distributions(path=[str(site)])
    assert {str(file) for file in dist.files} == files(site) - before
    assert execute("--install-alias").code == 0  # again: the same
    assert execute("--remove-alias").code == 0
    assert files(site) == before
    assert [p.name for p in site.iterdir()] == ["other"]
    found = execute("--remove-alias")
    assert found.code == 2
    assert "has no alias" in found.err


@pytest.mark.slow
def test_python_finds_it(site):
    install_alias()
    code = "from rknn.api import RKNN; from rknnlite.api import RKNNLite; import rknn; RKNN()"
    paths = f"{site}:{ROOT}"
    subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": paths, "HOME": str(site)}, check=True
    )
    remove_alias()
    assert list(site.iterdir()) == []  # with what Python compiled


@pytest.mark.parametrize("name", ["rknn", "rknnlite"])
def test_a_real_toolkit_is_never_replaced(name, site):
    (site / name).mkdir()
    (site / name / "__init__.py").write_text("real = True", encoding="utf-8")
    with pytest.raises(ConfigError, match="that is not npusim's"):
        install_alias()
    assert files(site) == {f"{name}/__init__.py"}


def test_a_real_toolkit_elsewhere_on_the_path(site, work, monkeypatch):
    (work / "elsewhere" / "rknn").mkdir(parents=True)
    (work / "elsewhere" / "rknn" / "__init__.py").write_text("", encoding="utf-8")
    monkeypatch.syspath_prepend(work / "elsewhere")
    with pytest.raises(ConfigError, match="elsewhere"):
        install_alias()


def test_a_folder_of_models_called_rknn_is_no_toolkit(site, work, monkeypatch):
    (work / "project" / "rknn").mkdir(parents=True)
    monkeypatch.syspath_prepend(work / "project")
    install_alias()
    remove_alias()


def test_changed_files_are_kept(site):
    install_alias()
    (site / "rknn" / "api" / "__init__.py").write_text("mine", encoding="utf-8")
    assert "kept: rknn/api/__init__.py" in remove_alias()
    assert files(site) == {"rknn/api/__init__.py"}

"""Build the source archive, a wheel from it and one from the checkout, and compare them.

``python tools/check_dist.py [--to FOLDER]`` needs ``build``. The two wheels must hold the same
files, the archive every file of the checkout that MANIFEST.in promises, and the metadata the
version that the package tells. Exit code 1: they do not. ``--to`` keeps archive and wheel.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from email.parser import Parser
from pathlib import Path
from shutil import which

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # to run in a bare checkout too

from npusim import __version__

ROOT = Path(__file__).resolve().parents[1]
LINKS = {"npusim/kernels", "npusim/perfmodel"}  # of checkouts only
MADE = re.compile(
    r"__pycache__|build|dist|site|npusim-demo|.*\.egg-info|.*\.py[co]|.*\.nb[ci]|.*\.kernel|"
    r"\.(git|venv|\w+_cache|hypothesis|ipynb_checkpoints|coverage)"
)
LEFT_OUT = (".ci/", ".github/", ".git", ".pre-commit", "findings/")


def build(source: Path, to: Path, kind: str) -> Path:
    """Build a wheel or a source archive; return the file."""
    to.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "build", f"--{kind}", "--outdir", str(to), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{kind} of {source} cannot be built:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    (file,) = to.glob("*.whl" if kind == "wheel" else "*.tar.gz")
    return file


def tracked() -> set[str]:
    """Return the files that git has; in a copy without git, all that no tool has made."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z"]
    listed = subprocess.run(command, capture_output=True, check=False) if which("git") else None
    if listed is not None and listed.returncode == 0:
        return {name for name in listed.stdout.decode().split("\0") if name}
    found = set()
    for folder, folders, files in os.walk(ROOT):
        place = Path(folder).relative_to(ROOT)
        kept = (name for name in folders if not MADE.fullmatch(name))
        folders[:] = [name for name in kept if not (ROOT / place / name).is_symlink()]
        found |= {(place / name).as_posix() for name in files if not MADE.fullmatch(name)}
    return found | LINKS


def checkout(to: Path) -> set[str]:
    """Copy them, without what builds have left in the folder; return the names."""
    names = tracked()
    for name in names:
        place = to / name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, place, follow_symlinks=False)
    return names


def content(wheel: Path) -> dict[str, bytes]:
    """Return name -> bytes of everything but the list of files, which has their order."""
    with zipfile.ZipFile(wheel) as archive:
        return {n: archive.read(n) for n in archive.namelist() if not n.endswith("/RECORD")}


def faults(work: Path, keep: Path | None) -> list[str]:
    """Return what is wrong, a line each."""
    names = checkout(work / "tree")
    archive = build(work / "tree", work / "sdist", "sdist")
    with tarfile.open(archive) as file:
        file.extractall(work / "unpacked", filter="data")
        inside = {name.partition("/")[2] for name in file.getnames()}
    (unpacked,) = (work / "unpacked").iterdir()
    first, second = build(work / "tree", work / "a", "wheel"), build(unpacked, work / "b", "wheel")
    if keep is not None:
        for made in (archive, second):
            keep.mkdir(parents=True, exist_ok=True)
            shutil.copy2(made, keep)
    one, two = content(first), content(second)
    found = [f"{n}: differs in the archive's wheel" for n in sorted(one) if one[n] != two.get(n)]
    found += [f"{name}: only in the archive's wheel" for name in sorted(set(two) - set(one))]
    promised = {n for n in names - LINKS if not n.startswith(LEFT_OUT)}
    found += [f"{name}: missing in the archive" for name in sorted(promised - inside)]
    (metadata,) = (n for n in one if n.endswith(".dist-info/METADATA"))
    told = Parser().parsestr(one[metadata].decode())["Version"]
    if told != __version__:
        found.append(f"the metadata say version {told}, the package {__version__}")
    return found


def main(arguments: list[str] | None = None) -> int:
    """Build and compare; print what is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--to", type=Path, help="keep archive and wheel in this folder")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="npusim-dist-") as work:
        found = faults(Path(work), options.to)
    print("\n".join(found) or f"archive and wheel of {__version__} hold the same, and all of it")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())

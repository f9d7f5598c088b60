"""Models of two files: the weights beside the network, and the shapes of inputs."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from os.path import isfile
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np

from npusim import words
from npusim.errors import UNREADABLE, ModelImportError
from npusim.importers.common.builder import Array, check_elements, suggestion
from npusim.importers.common.stretch import changed, read_numbers
from npusim.ir.tensor import Shape

WEIGHTS_FOUND, NO_WEIGHTS = "weights: ", "NO TRAINED WEIGHTS"
"""How notes begin that everybody should see."""
_WINDOW_BYTES = 1 << 20


class Unchanged:
    """Refuses a file that was written since this was made, so that all numbers are of one state."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp = _stamp(path)

    def check(self) -> None:
        """Raise ``ModelImportError`` when the file was written or replaced."""
        if self._stamp != _stamp(self._path):
            raise changed(self._path)


class Fingerprint:
    """The SHA-256 of a file, computed in a thread of its own while the file is being read.

    Made before anything else of the file is read; ``hexdigest`` comes last.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._digest = ""
        self._error: OSError | None = None
        self._unchanged = Unchanged(path)
        self._thread = Thread(target=self._compute, daemon=True)
        self._thread.start()

    def _compute(self) -> None:
        try:
            with self._path.open("rb") as file:
                self._digest = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:  # handed to who asks
            self._error = error

    def hexdigest(self) -> str:
        """Return the digest as hexadecimal digits; waits for it.

        Raises
        ------
        ModelImportError
            When the file cannot be read to its end, or was written since.
        """
        self._thread.join()
        if self._error is not None:
            raise ModelImportError(
                f"cannot be read: {self._error.strerror}",
                where=str(self._path),
                remedy=UNREADABLE,
            ) from self._error
        self._unchanged.check()
        return self._digest


class LaterFingerprint:
    """The SHA-256 of a file whose bytes others read, computed by a thread when all are read.

    Made before anything of the file is read; ``finish`` comes last. Nothing is read twice, and
    loading waits for no hash.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._unchanged = Unchanged(path)
        self._size = path.stat().st_size
        self._parts: list[memoryview] = []
        self._end = 0
        self._digest = ""
        self._thread = Thread(target=self._compute, daemon=True)

    def add(self, begin: int, numbers: Array) -> None:
        """Take numbers that stand at a place of the file; they cannot be written to any more.

        Bytes seen before are passed over, so are those in front of which some are missing.
        """
        numbers.flags.writeable = False
        if begin <= self._end < begin + numbers.nbytes:
            self._parts.append(numbers.data.cast("B")[self._end - begin :])
            self._end = begin + numbers.nbytes

    def finish(self) -> Callable[[], str]:
        """Read what nobody read; return a function that waits for the hexadecimal digits.

        Raises
        ------
        ModelImportError
            When the file cannot be read to its end, or was written since.
        """
        while self._end < self._size:
            count = min(_WINDOW_BYTES, self._size - self._end)
            self.add(self._end, read_numbers(self._path, self._end, count, np.dtype(np.uint8)))
        self._unchanged.check()
        self._thread.start()
        return self._hexdigest

    def _compute(self) -> None:
        found = hashlib.sha256()
        for part in self._parts:
            found.update(part)
        self._digest = found.hexdigest()
        self._parts = []

    def _hexdigest(self) -> str:
        self._thread.join()
        if not self._digest:  # a fork left the thread in the parent
            self._compute()
        return self._digest


def _stamp(path: Path) -> tuple[int, ...]:
    """Return what changes when a file is written or replaced; nothing where there is none."""
    try:
        found = path.stat()
    except OSError:  # whoever reads it says why
        return ()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def beside(path: Path, suffix: str) -> Path | None:
    """Return the file of the same stem and another suffix beside a file, if it exists."""
    found = path.with_suffix(suffix)
    return found if isfile(found) else None


def two_files(
    model: str | Path,
    weights: str | Path | bool | None,
    weights_suffix: str,
    suffix: str,
    network_of: Callable[[Path], Path | None] | None = None,
) -> tuple[Path, str | Path | bool | None]:
    """Return the network's file and the weights, of a model named by either of its files.

    Parameters
    ----------
    model : path
        The network; or the weights, with the network of the same stem beside them.
    weights : path, False or None
        As in ``npusim.load_model``.
    weights_suffix, suffix : str
        What files with weights and files with networks end in.
    network_of : callable, optional
        File with weights -> its network, if there is one. Default: the file of the same stem.

    Raises
    ------
    ModelImportError
        When weights is neither, when the files are two networks, two files with weights or the
        wrong way round, and when the network is missing.
    """
    path = Path(model)
    if not (weights is None or weights is False or isinstance(weights, str | Path)):
        raise ModelImportError(
            f"weights is {weights!r}",
            where=str(path),
            rule="one path, or False for the structure only",
        )
    rule = f"a network is a {suffix} file, its weights are a {weights_suffix} file"
    second = Path(weights) if isinstance(weights, str | Path) else None
    holds_weights = path.suffix.lower() == weights_suffix
    if second is not None and second.suffix.lower() == suffix:
        is_first = "holds weights" if holds_weights else "is a network"
        raise ModelImportError(
            f"{path.name} {is_first}, and {second.name}, given as weights, is a network",
            where=str(path),
            rule=rule,
            remedy=f"give {second.name} as the model and {path.name} as weights"
            if holds_weights
            else f"give a {weights_suffix} file as weights, or leave them out",
        )
    if not holds_weights:
        return path, weights
    if second is not None and second != path:
        raise ModelImportError(
            f"{path.name} holds weights, and {second.name} is given as weights too",
            where=str(path),
            rule=rule,
            remedy=f"give the {suffix} file as the model and one file as weights",
        )
    found = network_of(path) if network_of else beside(path, suffix)
    if found is None:
        raise ModelImportError(
            "this file holds weights, the network is not beside it",
            where=str(path),
            rule=rule,
            remedy=f"give the {suffix} file as the model and {path.name} as weights",
        )
    return found, path if weights is None else weights


def wanted_shape(
    name: str,
    own: Sequence[int] | None,
    shapes: Mapping[str, Sequence[Any]] | Sequence[Sequence[Any]] | None,
    inputs: Sequence[str],
    where: str,
    *,
    whole: bool = False,
) -> Shape | None:
    """Return the shape of an input: the file's, changed by what is given; None when unknown.

    Parameters
    ----------
    own : sequence of int or None
        Sizes in the file.
    shapes : mapping, sequence or None
        By input, or in the order of ``inputs``. The batch may be left out; None and -1 keep the
        file's size.
    whole : bool
        Three sizes of an input without a shape in the file are its shape; else the batch is 1.

    Raises
    ------
    ModelImportError
        For names that are no input, another number of shapes or axes, and absurd sizes.
    """
    given: Sequence[Any] | None
    if shapes is None:
        given = None
    elif isinstance(shapes, Mapping):
        for key in shapes:
            if key not in inputs:
                raise ModelImportError(
                    f"{words.say('input_shapes')} names {key!r}, which is no input",
                    where=where,
                    rule=f"inputs: {', '.join(map(repr, inputs))}",
                    remedy=suggestion(str(key), inputs),
                )
        given = shapes.get(name)
    else:
        if len(shapes) != len(inputs):
            raise ModelImportError(
                f"{len(shapes)} input shapes for {len(inputs)} inputs {list(inputs)}",
                where=where,
                rule="one shape per input, in order",
            )
        given = shapes[list(inputs).index(name)]
    if given is None:
        shape = None if own is None else tuple(own)
    else:
        try:
            wished = [None if n is None or int(n) == -1 else int(n) for n in given]
        except (TypeError, ValueError):
            wished = [0]
        if own is not None and len(wished) == len(own) - 1:
            wished.insert(0, None)
        elif own is None and len(wished) == 3 and not whole:
            wished.insert(0, 1)
        if own is not None and len(wished) != len(own):
            raise ModelImportError(
                f"the shape {words.shape_text(given)} given for input {name!r} has "
                f"{words.sizes(len(wished))}",
                where=where,
                rule=f"the file's is {words.shape_text(own)}{words.say('batch_rule')}",
            )
        kept = own or (0,) * len(wished)
        shape = tuple(k if w is None else w for w, k in zip(wished, kept, strict=True))
    if shape is None:
        return None
    check_elements(shape, f"input {name!r}", where)
    if 0 in shape:
        raise ModelImportError(
            f"input {name!r} has the shape {shape}", where=where, rule="positive whole numbers"
        )
    return shape

"""Darknet weights: a header and float32 numbers in the order the layers ask for them."""

from dataclasses import dataclass
from math import prod
from pathlib import Path
from zlib import crc32

import numpy as np

from npusim.errors import UNREADABLE, ModelImportError
from npusim.importers.common.builder import Array, check_elements, refuse_absent
from npusim.importers.common.stretch import read_numbers
from npusim.importers.common.two_files import LaterFingerprint

TRANSPOSED_FROM = 1000
"""Versions above store fully connected weights as (inputs, outputs)."""


@dataclass(frozen=True, slots=True)
class Header:
    """The version, and the bytes in front of the numbers."""

    major: int
    minor: int
    revision: int

    @property
    def transposed(self) -> bool:
        """Tell whether fully connected weights are (inputs, outputs)."""
        return self.major > TRANSPOSED_FROM or self.minor > TRANSPOSED_FROM

    def length(self, original: bool) -> int:
        """Return the bytes of the header by the original program or the YOLOv4 fork.

        The counter of seen images has 8 bytes from version 0.2 on; where a number is 1000 or more
        the original program takes 4, the fork 8.
        """
        odd = self.major >= TRANSPOSED_FROM or self.minor >= TRANSPOSED_FROM
        return 16 if self.major * 10 + self.minor < 2 or (original and odd) else 20


class WrongLength(ModelImportError):
    """The file has more or fewer numbers than the network wants."""


@dataclass(slots=True)
class Numbers:
    """Hands out the numbers of a file in order, or seeded ones without a file.

    Attributes
    ----------
    wanted : int
        How many numbers have been asked for.
    """

    path: Path | None
    fingerprint: LaterFingerprint | None = None
    header: Header = Header(0, 2, 0)
    offset: int = 0
    bytes: int = 0
    wanted: int = 0

    @property
    def needed_bytes(self) -> int:
        """Return how long the file is with the numbers asked for so far."""
        return self.offset + 4 * self.wanted

    def take(self, shape: tuple[int, ...], what: str, where: str, *, fill: float) -> Array:
        """Return the next numbers in a shape.

        Parameters
        ----------
        what, where : str
            What they are and the layer, for messages.
        fill : float
            The value without a file; NaN asks for seeded pseudo-random numbers.
        """
        count = check_elements(shape, what, where)
        begin = self.wanted
        self.wanted += count
        if self.path is None:
            if fill == fill:
                return np.full(shape, fill, np.float32)
            rng = np.random.default_rng(crc32(f"{where}/{what}".encode()))
            limit = np.sqrt(3.0 / max(prod(shape[1:]), 1))
            return rng.uniform(-limit, limit, shape).astype(np.float32)
        if self.needed_bytes > self.bytes:
            raise WrongLength(
                f"the weights end before {what}: {self.path} has {self.bytes} bytes, "
                f"up to here {self.needed_bytes} are needed",
                where=where,
                rule="a header, then all numbers of all layers in order",
                remedy="the file is cut off, or belongs to another .cfg",
            )
        offset = self.offset + 4 * begin
        found = read_numbers(self.path, offset, count, np.dtype("<f4"))
        if self.fingerprint:
            self.fingerprint.add(offset, found)
        return found.reshape(shape)


def open_weights(path: Path) -> Numbers:
    """Read the header of a file.

    Raises
    ------
    ModelImportError
        When the file is not there or too short for a header.
    """
    where = str(path)
    refuse_absent(path, "weights")
    try:
        digest = LaterFingerprint(path)
        with path.open("rb") as file:
            head = file.read(20)
            size = file.seek(0, 2)
    except OSError as error:
        raise ModelImportError(
            f"cannot be read: {error.strerror}", where=where, remedy=UNREADABLE
        ) from error
    if size < 16:
        raise ModelImportError(
            f"the file has {size} bytes",
            where=where,
            rule="a header of 16 or 20 bytes, then float32 numbers",
            remedy="the file is cut off; copy it again",
        )
    header = Header(*(int(n) for n in np.frombuffer(head[:12], "<i4")))
    digest.add(0, np.frombuffer(head, np.uint8))
    return Numbers(path, digest, header, bytes=size)

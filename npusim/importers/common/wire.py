"""Walking through a protocol-buffer file where it stands, without reading its numbers."""

from collections.abc import Iterator
from dataclasses import dataclass

from npusim.errors import ModelImportError
from npusim.importers.common.stretch import FileBytes

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


@dataclass(slots=True)
class Wire:
    """The bytes of a file.

    Attributes
    ----------
    data : FileBytes
    where : str
        The file, for errors.
    what : str
        What the file should be.
    """

    data: FileBytes
    where: str
    what: str

    def fields(self, begin: int, end: int) -> Iterator[tuple[int, int, int, int]]:
        """Yield (field number, wire type, begin, end); of a varint its value and the end.

        Raises
        ------
        ModelImportError
            Where the bytes are no protocol buffer, with the place.
        """
        position = begin
        while position < end:
            start = position
            tag, position = self.varint(position, end)
            number, kind = tag >> 3, tag & 7
            if kind == VARINT:
                value, position = self.varint(position, end)
                yield number, kind, value, position
                continue
            if kind == BYTES:
                length, position = self.varint(position, end)
            elif kind in (FIXED32, FIXED64):
                length = 4 if kind == FIXED32 else 8
            else:
                raise self.damaged(start, f"wire type {kind}")
            if number == 0 or position + length > end:
                raise self.damaged(start, f"a field of {length} bytes, {end - position} are left")
            yield number, kind, position, position + length
            position += length

    def varint(self, position: int, end: int) -> tuple[int, int]:
        """Return a number and where it ends."""
        value = shift = 0
        while position < end and shift < 64:
            byte = self.data.byte(position)
            position += 1
            value |= (byte & 127) << shift
            if byte < 128:
                return value, position
            shift += 7
        raise self.damaged(position, "a number without an end")

    def damaged(self, position: int, what: str) -> ModelImportError:
        """Return the error for bytes that are no protocol buffer."""
        return ModelImportError(
            f"{what} at byte {position}",
            where=self.where,
            rule=f"{self.what} (protocol buffer)",
            remedy="the file is cut off or something else; copy it again",
        )

"""Protocol-buffer text (``.prototxt``) as a tree of entries with their lines.

Read without a schema, so that fields of other forks of Caffe can be named instead of stopping the
import; what the fields mean is in ``npusim.importers.caffe.schema``.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from npusim import words
from npusim.errors import ModelImportError
from npusim.importers.common.builder import read_bytes

MAX_BYTES = 1 << 26
MAX_DEPTH = 64

_TOKEN = re.compile(
    r"""(?P<space>[ \t\r\f\v]+|\#[^\n]*)
    |(?P<line>\n)
    |(?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
    |(?P<word>[-+]?[A-Za-z_0-9.][A-Za-z_0-9.+-]*)
    |(?P<mark>[{}<>:;,\[\]/-])""",
    re.VERBOSE,
)
_ESCAPE = re.compile(rb"\\(x[0-9A-Fa-f]{1,2}|[0-7]{1,3}|.)", re.DOTALL)
_ESCAPED = {b"n": b"\n", b"t": b"\t", b"r": b"\r", b"a": b"\a", b"b": b"\b"}


@dataclass(frozen=True, slots=True)
class Entry:
    """A field: its name, where it stands, and a scalar as written or a block."""

    name: str
    line: int
    value: "str | Block"
    quoted: bool = False


@dataclass(slots=True)
class Block:
    """The entries between two braces."""

    line: int
    entries: list[Entry] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    line: int


def parse_file(path: Path) -> Block:
    """Return the entries of a file.

    Raises
    ------
    ModelImportError
        When it cannot be read or is not protocol-buffer text; names the line.
    """
    data = read_bytes(path, MAX_BYTES)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ModelImportError(
            "the file is not text",
            where=str(path),
            rule="the network is a .prototxt; weights (.caffemodel) are given beside it",
            remedy=f"give the .prototxt as the model and the .caffemodel as weights: "
            f"{words.say('caffe_files')}",
        ) from None
    return parse(text, str(path))


def parse(text: str, where: str) -> Block:
    """Return the entries of a text; ``where`` names it in messages."""
    return _Parser(list(_tokens(text, where)), where).block(Block(1), "", 0)


def _tokens(text: str, where: str) -> Iterator[_Token]:
    position, line = 0, 1
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise _wrong(f"{text[position]!r} cannot stand here", where, line)
        kind = str(match.lastgroup)
        if kind == "line":
            line += 1
        elif kind != "space":
            yield _Token(kind, match.group(), line)
        position = match.end()


def _wrong(what: str, where: str, line: int) -> ModelImportError:
    return ModelImportError(
        what,
        where=f"{where}: line {line}",
        rule="protocol-buffer text: name: value, name { .. }, comments behind #",
        remedy="compare the line with the original file, or copy the file again",
    )


class _Parser:
    def __init__(self, tokens: list[_Token], where: str) -> None:
        self.tokens, self.where, self.position = tokens, where, 0

    def _peek(self) -> _Token:
        if self.position < len(self.tokens):
            return self.tokens[self.position]
        return _Token("end", "the end of the file", self.tokens[-1].line if self.tokens else 1)

    def _next(self) -> _Token:
        token = self._peek()
        self.position += 1
        return token

    def _skip(self, *marks: str) -> bool:
        if self._peek().text in marks and self._peek().kind == "mark":
            self.position += 1
            return True
        return False

    def block(self, block: Block, end: str, depth: int) -> Block:
        """Read entries up to a closing mark; '' is the end of the file."""
        if depth > MAX_DEPTH:
            raise _wrong(f"blocks are nested {depth} deep", self.where, block.line)
        while True:
            token = self._next()
            if token.kind == "end" and not end:
                return block
            if end and token.kind == "mark" and token.text == end:
                return block
            if token.kind == "mark" and token.text == "[":
                token = self._extension(token.line)
            if token.kind != "word":
                missing = f", {end!r} of line {block.line} is missing" if end else ""
                raise _wrong(f"{token.text!r} is no field name{missing}", self.where, token.line)
            colon = self._skip(":")
            if self._skip("["):
                self._list(token, block, depth)
            else:
                block.entries.append(self._value(token, depth, colon))
            self._skip(";", ",")

    def _extension(self, line: int) -> _Token:
        text = ""
        while not self._skip("]"):
            token = self._next()
            if token.kind not in ("word", "mark"):
                raise _wrong("'[' has no ']'", self.where, line)
            text += token.text
        return _Token("word", f"[{text}]", line)

    def _list(self, name: _Token, block: Block, depth: int) -> None:
        while not self._skip("]"):
            block.entries.append(self._value(name, depth, True))
            if not self._skip(",") and self._peek().text != "]":
                raise _wrong(f"the list of {name.text!r} has no end", self.where, name.line)

    def _value(self, name: _Token, depth: int, colon: bool) -> Entry:
        token = self._next()
        if token.kind == "mark" and token.text in "{<":
            inner = Block(name.line)
            closing = "}" if token.text == "{" else ">"
            return Entry(name.text, name.line, self.block(inner, closing, depth + 1))
        if not colon:
            raise _wrong(
                f"{name.text!r} is followed by {token.text!r}, not by ':' or '{{'",
                self.where,
                token.line,
            )
        if token.kind == "string":
            parts = [token.text]
            while self._peek().kind == "string":
                parts.append(self._next().text)
            return Entry(name.text, name.line, "".join(map(_unquoted, parts)), quoted=True)
        if token.kind == "mark" and token.text == "-":
            token = _Token("word", "-" + self._next().text, token.line)
        if token.kind != "word":
            raise _wrong(f"{name.text!r} has the value {token.text!r}", self.where, token.line)
        return Entry(name.text, name.line, token.text)


def _unquoted(text: str) -> str:
    def plain(match: re.Match[bytes]) -> bytes:
        code = match.group(1)
        if code[:1] == b"x" and len(code) > 1:
            return bytes([int(code[1:], 16)])
        if code[:1].isdigit():
            return bytes([int(code, 8) & 255])
        return _ESCAPED.get(code, code)

    return _ESCAPE.sub(plain, text[1:-1].encode()).decode("utf-8", "replace")

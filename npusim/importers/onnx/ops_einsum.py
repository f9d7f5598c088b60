"""Einsum: sums, transposes and one matrix product for each further operand."""

import re
from math import prod

import numpy as np

from npusim.errors import ModelImportError
from npusim.importers.common.made import check_made
from npusim.importers.onnx.chain import Chain
from npusim.importers.onnx.context import Context, OnnxNode, converter
from npusim.importers.onnx.pick import pick
from npusim.ir.attrs import MatmulAttrs, ReduceAttrs


@converter("Einsum")
def einsum(node: OnnxNode, context: Context) -> None:
    """Operands from the left, two at a time; letters that repeat in one operand are diagonals."""
    terms, result = _terms(node, context)
    name, letters = node.inputs[0], terms[0]
    chain, letters = _diagonal(Chain(node, context, name), letters)
    for position, other in enumerate(terms[1:], start=1):
        later = set(result).union(*terms[position + 1 :])
        second, theirs = _diagonal(Chain(node, context, node.inputs[position]), other)
        chain, letters = _product(chain, letters, second, theirs, later, f"with_{position}")
    chain, letters = _summed(chain, letters, set(result), "summed")
    perm = tuple(letters.index(letter) for letter in result)
    chain.transpose(perm, "ordered").end()


def _terms(node: OnnxNode, context: Context) -> tuple[list[str], str]:
    """Return the letters of every operand and of the result; ``...`` becomes capital letters."""
    equation = node.text("equation").replace(" ", "")
    left, arrow, right = equation.partition("->")
    terms = left.split(",")
    shapes = [context.shape(name) for name in node.inputs]
    wrong = ModelImportError(
        f"equation {equation!r} for operands {', '.join(map(str, shapes))}",
        where=node.where,
        rule="a term for each operand, a letter for each axis, each letter of one size",
    )
    if len(terms) != len(shapes) or not re.fullmatch(r"[a-zA-Z.,]*(->[a-zA-Z.]*)?", equation):
        raise wrong
    spare = [letter for letter in _ALPHABET if letter not in equation]
    hidden = max(
        (len(s) - len(t.replace("...", "")) for t, s in zip(terms, shapes, strict=True)), default=0
    )
    if hidden > len(spare) or ("..." not in left and hidden > 0):
        raise wrong
    names = "".join(spare[: max(hidden, 0)])
    spelled = []
    for term, shape in zip(terms, shapes, strict=True):
        own = len(shape) - len(term.replace("...", ""))
        spelled.append(term.replace("...", names[len(names) - own :] if own > 0 else ""))
    if not arrow:
        counts = "".join(terms).replace(".", "")
        right = "..." * ("..." in left) + "".join(
            sorted(x for x in set(counts) if counts.count(x) == 1)
        )
    result = right.replace("...", names)
    if any(len(t) != len(s) for t, s in zip(spelled, shapes, strict=True)):
        raise wrong
    if not set(result) <= set("".join(spelled)) or len(set(result)) != len(result):
        raise wrong
    return spelled, result


_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def _diagonal(chain: Chain, letters: str) -> tuple[Chain, str]:
    """Append what keeps of axes with one letter the entries of one index."""
    unique = "".join(dict.fromkeys(letters))
    if unique == letters:
        return chain, letters
    shape = chain.shape
    sizes = tuple(shape[letters.index(letter)] for letter in unique)
    check_made((len(sizes), *sizes), "the diagonal", "")
    places = np.indices(sizes)
    index = [places[unique.index(letter)] for letter in letters]
    return pick(chain, np.ravel_multi_index(index, shape)), unique


def _summed(chain: Chain, letters: str, kept: set[str], part: str) -> tuple[Chain, str]:
    axes = tuple(i for i, letter in enumerate(letters) if letter not in kept)
    if axes:
        chain.then("reduce_sum", ReduceAttrs(axes=axes, keepdims=False), part=part)
    return chain, "".join(letter for letter in letters if letter in kept)


def _product(
    first: Chain, a: str, second: Chain, b: str, later: set[str], part: str
) -> tuple[Chain, str]:
    """Append the product of two operands, summed over letters that nothing later needs."""
    first, a = _summed(first, a, later | set(b), f"{part}_first")
    second, b = _summed(second, b, later | set(a), f"{part}_second")
    sizes = dict(zip(b, second.shape, strict=True))
    for letter, size in zip(a, first.shape, strict=True):
        if sizes.get(letter, 1) == 1 or size != 1:  # ones broadcast
            sizes[letter] = size
    over = [x for x in a if x in b and x not in later]
    batch = [x for x in a if x in b and x in later]
    rows, columns = [x for x in a if x not in b], [x for x in b if x not in a]
    letters = "".join((*batch, *rows, *columns))
    stretched = any(first.shape[a.index(x)] != second.shape[b.index(x)] for x in over)
    if not over or stretched:
        _outer(first, a, second, b, [*batch, *rows, *columns, *over], part)
        return _summed(first, "".join((letters, *over)), later, f"{part}_sum")

    def size_of(names: list[str]) -> int:
        return prod(sizes[x] for x in names)

    known = second.context.known(second.name) if second.waiting is None else None
    first.transpose(tuple(a.index(x) for x in (*batch, *rows, *over)), f"{part}_rows")
    if known is not None and not batch:
        order = tuple(b.index(x) for x in (*columns, *over))
        matrix = known.transpose(order).reshape(size_of(columns), size_of(over))
        first.reshape((size_of(rows), size_of(over)), f"{part}_flat").product(matrix, part)
    else:
        second.transpose(tuple(b.index(x) for x in (*batch, *over, *columns)), f"{part}_columns")
        own = [first.shape[i] for i in range(len(batch))]
        theirs = [second.shape[i] for i in range(len(batch))]
        first.reshape((*own, size_of(rows), size_of(over)), f"{part}_flat")
        second.reshape((*theirs, size_of(over), size_of(columns)), f"{part}_columns_flat")
        first.then("matmul", MatmulAttrs(), second.tensor(), part=part)
    first.reshape(tuple(sizes[x] for x in letters), f"{part}_shaped")
    return first, letters


def _outer(first: Chain, a: str, second: Chain, b: str, order: list[str], part: str) -> None:
    """Append the product of every pair, axes in the given order."""
    for chain, letters, word in ((first, a, "first"), (second, b, "second")):
        chain.transpose(tuple(letters.index(x) for x in order if x in letters), f"{part}_{word}")
        sizes = dict(zip((x for x in order if x in letters), chain.shape, strict=True))
        chain.reshape(tuple(sizes.get(x, 1) for x in order), f"{part}_{word}_wide")
    first.binary("mul", second.tensor(), part)

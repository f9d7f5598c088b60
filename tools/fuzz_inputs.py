"""Inputs of ``fuzz.py`` by their numbers, and smaller ones with the same finding."""

import random
from collections.abc import Callable
from hashlib import sha256

from fuzz_mutators import mutated
from fuzz_seeds import SHAPES, Files

TRIES = 60
"""Runs that making a finding smaller may take."""

REPAIRED, CROSSED = 0.8, 0.05
"""Shares of inputs whose digests fit, and that have a file of another seed."""


def made(seeds: list[Files], name: str, seed: int, number: int) -> tuple[Files, Files]:
    """Return the seed and the input of a number."""
    draw = random.Random(f"{name} {seed} {number}")
    start = draw.choice(seeds)
    files = dict(start)
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        label = draw.choice(sorted(files.keys() - {SHAPES}))
        if draw.random() < CROSSED:
            files[label] = draw.choice(seeds).get(label, files[label])
        else:
            files[label] = mutated(label, files[label], draw)
    if draw.random() < REPAIRED:
        files = repaired(start, files)
    return start, files


def repaired(start: Files, files: Files) -> Files:
    """Return files that name the digests of what was changed beside them, as before."""
    files = dict(files)
    for label, content in start.items():
        if files[label] != content:
            old, new = (sha256(data).hexdigest().encode() for data in (content, files[label]))
            for other, held in start.items():
                if old in held:
                    files[other] = files[other].replace(old, new)
    return files


def smaller(key_of: Callable[[Files], str], start: Files, files: Files, key: str) -> Files:
    """Return an input with the same finding and less that differs from the seed."""
    left = TRIES

    def same(tried: Files) -> bool:
        nonlocal left
        left -= 1
        return left >= 0 and key_of(tried) == key

    for label in sorted(files):
        if files[label] != start[label] and same(files | {label: start[label]}):
            files = files | {label: start[label]}
    for label in sorted(files):
        whole = start[label]
        step = max(1, len(whole) // 4)
        while step and left > 0 and len(files[label]) == len(whole) and files[label] != whole:
            for begin in range(0, len(whole), step):
                own = files[label]
                if own[begin : begin + step] == whole[begin : begin + step]:
                    continue
                tried = own[:begin] + whole[begin : begin + step] + own[begin + step :]
                if same(files | {label: tried}):
                    files = files | {label: tried}
            step = 0 if step == 1 else step // 2
    return files

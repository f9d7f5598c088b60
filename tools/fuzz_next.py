"""What is done with a model that ``fuzz.py`` has loaded: one step more, which must not fail.

Whether names, settings and shapes of a damaged model are fit to be stored, exported, quantized and
priced shows there and not when it is loaded.
"""

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

Check = Callable[[Path, Any], str]
SAMPLES = 2


def stored(folder: Path, graph: Any) -> str:
    """Store a model; it comes back as it was."""
    import npusim
    from npusim.ir.graph import prune

    path = folder / "next.npusim"
    npusim.save(graph, path)
    names = [node.name for node in npusim.load_model(path).nodes]
    kept = [node.name for node in prune(graph).nodes]
    return "" if names == kept else f"layers {names} came back of {kept}"


def exported(folder: Path, graph: Any) -> str:
    """Write ONNX and read it again."""
    import npusim

    npusim.load_model(npusim.export_onnx(graph, folder / "next.onnx"))
    return ""


def priced(folder: Path, graph: Any) -> str:
    """Price a model; the figures are numbers, and what is printed of them is too."""
    import npusim

    found = npusim.estimate(graph)
    json.dumps(found.to_dict(), allow_nan=False)
    return "" if np.isfinite(found.total_time_us) else f"it takes {found.total_time_us} us"


def listed(folder: Path, graph: Any) -> str:
    """Write a layer list, which is read again."""
    from npusim.api.pricing import layer_list
    from npusim.perfmodel.layer_list import layer_graph

    layer_graph(json.loads(json.dumps(layer_list(graph), allow_nan=False)))
    return ""


def lowered(folder: Path, graph: Any) -> str:
    """Make float16 or u8 of a float model and place it."""
    import npusim
    from npusim.passes.pipeline import lower

    if graph.is_quantized:
        return ""
    lower(npusim.float16(graph))
    rng = np.random.default_rng(1)
    shapes = {name: graph.spec(name) for name in graph.inputs}
    if all(spec.dtype.is_float for spec in shapes.values()):
        samples = [
            (
                str(number),
                {n: rng.uniform(-1, 1, s.shape).astype(np.float32) for n, s in shapes.items()},
            )
            for number in range(SAMPLES)
        ]
        lower(npusim.quantize(graph, samples, engine="npusim"))
    return ""


STEPS: tuple[Check, ...] = (stored, exported, priced, listed, lowered)


def then(check: Check, small: Callable[[Any], bool]) -> Check:
    """Return a check that goes one step on behind another one; which step, the files decide."""

    def both(folder: Path, graph: Any) -> str:
        wrong = check(folder, graph)
        if wrong or not small(graph):
            return wrong
        digest = sha256(b"".join(path.read_bytes() for path in sorted(folder.iterdir()))).digest()
        return STEPS[digest[0] % len(STEPS)](folder, graph)

    return both

"""Sound files of single operators that ``fuzz.py`` starts from, from tests that know them all."""

import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
Files = dict[str, bytes]
OF_EACH, LARGEST = 2, 3000  # networks of an operator; bytes of a network
MOST_VALUES = 1 << 14  # of a recorded case


def onnx_operators() -> Iterator[Files]:
    """Yield tests of the onnx package, parameters as constants, of what npusim takes."""
    from npusim.errors import NpusimError
    from npusim.importers.onnx.importer import load_onnx
    from tests.importers.test_onnx_conformance import fixed_parameters

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from onnx.backend.test.case.node import collect_testcases

        cases = collect_testcases(None)
    count = Counter[tuple[str, ...]]()
    with TemporaryDirectory() as folder:
        place = Path(folder) / "net.onnx"
        for case in cases:
            kinds = tuple(sorted({node.op_type for node in case.model.graph.node}))
            values = case.data_sets[0][0]
            if count[kinds] == OF_EACH or not all(isinstance(v, np.ndarray) for v in values):
                continue
            place.write_bytes(fixed_parameters(case).SerializeToString())
            if place.stat().st_size <= LARGEST:
                try:
                    load_onnx(place)
                except NpusimError:
                    continue
                count[kinds] += 1
                yield {"net.onnx": place.read_bytes()}


def stored_operators() -> Iterator[Files]:
    """Yield npusim's own files of the first recorded case of each operator and type."""
    import npusim
    from npusim.conformance.golden import read_golden
    from npusim.conformance.mapping import case_graph
    from npusim.conformance.replay import prepared

    with TemporaryDirectory() as folder:
        place = Path(folder) / "net.npusim"
        for number, path in enumerate(sorted((ROOT / "tests/golden").rglob("*.npz"))):
            kinds = set()
            for case in read_golden(path):
                kind = (
                    tuple(op.kind for op in case.ops),
                    case.tensors[case.ops[0].outputs[0]]["dtype"],
                )
                if kind in kinds or sum(a.size for a in case.arrays.values()) > MOST_VALUES:
                    continue
                kinds.add(kind)
                lowered = (number + len(kinds)) % 3 == 0
                npusim.save(prepared(case) if lowered else case_graph(case), place)
                yield {"net.npusim": place.read_bytes()}


def golden_operators() -> Iterator[Files]:
    """Yield recorded vectors: the smaller files, and the first cases of others."""
    import io
    import json

    for path in sorted((ROOT / "tests/golden").rglob("*.npz")):
        with np.load(path, allow_pickle=False) as packed:
            meta = json.loads(packed["meta"].item())
            arrays = {key: packed[key] for key in packed.files if key.startswith(("0.", "1."))}
        if sum(value.size for value in arrays.values()) > MOST_VALUES:
            continue
        stream = io.BytesIO()
        np.savez(stream, meta=np.array(json.dumps(meta[:2])), **arrays)
        yield {"golden.npz": stream.getvalue()}

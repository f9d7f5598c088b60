"""Choose a small, representative part of a folder of golden vectors for ``tests/golden``.

``python tools/make_golden.py --from FOLDER [--to tests/golden]``

Of every file, the smallest case of each group (operators, attributes that matter, engines, types)
is taken. Large sweeps of element-wise functions are thinned to every 61st element.
``manifest.json`` records, per file: sha256, the source file's sha256, the cases taken and which of
them were thinned.
"""

import argparse
import hashlib
import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from npusim.ops import ops_named_in

REPOSITORY = Path(__file__).resolve().parent.parent
POINTWISE = frozenset(ops_named_in("golden", lambda d: d.elementwise and d.inputs == (1, 1)))
THIN_ABOVE, THIN_STEP = 4096, 61
GROUP_ATTRS = ("type", "round", "mult", "group", "stride", "ksize", "mode", "align_corners")
GROUP_ATTRS += ("half_pixel", "axis", "tb", "height", "width")


def group_of(case: dict[str, Any]) -> str:
    """Return the key of cases of which one is enough."""
    types = [tensor["dtype"] for tensor in case["tensors"].values()]
    attrs = [[op["kind"], *(op["attrs"].get(name) for name in GROUP_ATTRS)] for op in case["ops"]]
    kernels = [
        tensor["shape"][2:]
        for tensor in case["tensors"].values()
        if tensor["role"] == "const" and len(case["ops"]) == 1
    ]
    return json.dumps([attrs, case["engines"], types, kernels])


def choose(cases: list[dict[str, Any]], arrays: Any) -> list[int]:
    """Return the index of the smallest case of every group, in order."""
    best: dict[str, tuple[int, int]] = {}
    for index, case in enumerate(cases):
        size = sum(
            arrays[f"{index}.{name}"].nbytes
            for name, tensor in case["tensors"].items()
            if tensor["role"] != "transient"
        )
        key = group_of(case)
        best[key] = min(best.get(key, (size, index)), (size, index))
    return sorted(index for _, index in best.values())


def thinned(case: dict[str, Any]) -> bool:
    """Tell whether a case is one large element-wise sweep."""
    sizes = [np.prod(tensor["shape"]) for tensor in case["tensors"].values()]
    return (
        len(case["ops"]) == 1
        and case["ops"][0]["kind"] in POINTWISE
        and max(sizes) > THIN_ABOVE
        and min(sizes) == max(sizes)
    )


def reduce_file(source: Path) -> tuple[bytes, dict[str, Any]]:
    """Return the bytes of the reduced npz and its manifest entry."""
    with np.load(source, allow_pickle=False) as stored:
        cases = json.loads(str(stored["meta"]))
        taken = choose(cases, stored)
        kept, arrays, thin = [], {}, []
        for number, index in enumerate(taken):
            case = cases[index]
            shrink = thinned(case)
            if shrink:
                thin.append(number)
            for name, tensor in case["tensors"].items():
                if tensor["role"] == "transient":
                    continue
                array = stored[f"{index}.{name}"]
                if shrink:
                    array = np.ascontiguousarray(array.reshape(-1)[::THIN_STEP]).reshape(
                        1, 1, 1, -1
                    )
                    tensor["shape"] = list(array.shape)
                arrays[f"{number}.{name}"] = array
            kept.append(case)
    packed = io.BytesIO()
    np.savez_compressed(packed, meta=np.array(json.dumps(kept)), **arrays)
    data = packed.getvalue()
    entry = {
        "sha256": hashlib.sha256(data).hexdigest(),
        "source_sha256": hashlib.sha256(source.read_bytes()).hexdigest(),
        "cases": taken,
        "cases_in_source": len(cases),
        "thinned": thin,
    }
    return data, entry


def measured(manifest: Path) -> dict[str, Any]:
    """Return the manifest entries that another tool (record_golden.py) wrote."""
    if not manifest.is_file():
        return {}
    files = json.loads(manifest.read_text())["files"]
    return {file: entry for file, entry in files.items() if file.startswith("measured/")}


def main(arguments: list[str] | None = None) -> int:
    """Write the reduced files and the manifest; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--from", dest="source", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--to", type=Path, default=REPOSITORY / "tests" / "golden")
    options = parser.parse_args(arguments)
    sources = sorted(options.source.rglob("*.npz"))
    if not sources:
        print(f"no npz files under {options.source}", file=sys.stderr)
        return 2
    files = measured(options.to / "manifest.json")
    total = 0
    for source in sources:
        relative = source.relative_to(options.source)
        data, files[relative.as_posix()] = reduce_file(source)
        target = options.to / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
        total += len(data)
    manifest = {
        "recorded_from": "vendor simulator, chip configuration VIPNANOQ_PID0X82",
        "seeds": {"nn": 1, "ops": 101},
        "generator": "tools/make_golden.py",
        "numpy": np.__version__,
        "thin_step": THIN_STEP,
        "files": files,
    }
    (options.to / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")
    taken = sum(len(entry["cases"]) for entry in files.values())
    print(f"{len(files)} files, {taken} cases, {total} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Record blocks in which the chip's driver loses data, and the same with parameters that avoid it.

    python tools/record_driver_faults.py ORACLE_FOLDER [--to FILE] [--seed 1]

ORACLE_FOLDER holds ``oracle.py`` (a harness round the vendor's simulator, set up beforehand). FILE
(``tests/runtime/driver_faults.npz``) is in the golden format; a case is named ``BLOCK TYPE lost``,
``BLOCK TYPE mixed`` (lost, but not the same in every network) or ``BLOCK TYPE copied``. Developer's
tool; tests only read the file.
"""

import argparse
import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from fuzz_arithmetic import record
from random_chain import Chain, Quant
from random_layers import Draw

from npusim.ir.quant import Affine, DynamicFixedPoint
from npusim.quantization.avoid_faults import apart

FILE = Path(__file__).resolve().parent.parent / "tests" / "runtime" / "driver_faults.npz"
Join = Callable[[Chain, list[str], str], str]


def parameters(d: Draw) -> Quant:
    """Return the parameters of all parts."""
    return {"u8": d.oracle.asym(0.06, 93), "i8": d.oracle.dfp(4), "i16": d.oracle.dfp(9)}.get(
        d.dtype
    )


def in_place(chain: Chain, parts: list[str], output: str) -> str:
    """Join in the parameters of the parts."""
    return chain.concat(parts, output)


def copied(chain: Chain, parts: list[str], output: str) -> str:
    """Join in the parameters that ``quantize(avoid_driver_faults=True)`` gives."""
    q = chain.known[parts[0]][1]
    asym = q[0] == "asym"
    other = apart(Affine(scale=q[1], zero_point=q[2]) if asym else DynamicFixedPoint(fl=q[1]))
    if isinstance(other, Affine):
        return chain.concat(parts, output, q=chain.d.oracle.asym(other.scale, other.zero_point))
    assert isinstance(other, DynamicFixedPoint)
    return chain.concat(parts, output, q=chain.d.oracle.dfp(other.fl))


def focus(chain: Chain, join: Join) -> None:
    """Four slices of the input, joined, and layers behind."""
    source = chain.start((1, 2, 8, 8), parameters(chain.d))
    places = [(0, 0), (1, 0), (0, 1), (1, 1)]
    parts = [chain.every_second(source, f"p{i}", *place) for i, place in enumerate(places)]
    last = join(chain, parts, "j")
    for number in range(4):
        last = chain.into(last, f"y{number}", 4, parameters(chain.d))


def dense(chain: Chain, join: Join) -> None:
    """Two layers of a dense block and a table, whose elements show what was read."""
    q = parameters(chain.d)
    last = chain.into(chain.start((1, 3, 6, 6)), "s", 4, q)
    for number in range(2):
        inner = chain.into(last, f"b{number}", 4, q)
        last = join(
            chain, [last, chain.into(inner, f"g{number}", 3, chain.known[last][1])], f"j{number}"
        )
    chain.op("sigmoid", [last], "y")


def stack(chain: Chain, join: Join) -> None:
    """Two layers' results stacked along a new axis."""
    parts = []
    for number in range(2):
        made = chain.op(
            "leaky_relu", [chain.start((1, 6, 5))], f"s{number}", parameters(chain.d), alpha=0.5
        )
        parts.append(chain.reshape(made, f"p{number}", (1, 1, 6, 5)))
    chain.op("sigmoid", [join(chain, parts, "j")], "y")


def ssd(chain: Chain, join: Join) -> None:
    """Boxes of two maps and a sigmoid."""
    parts = []
    for number, side in enumerate((4, 2)):
        chain.into(chain.start((1, 3, side, side)), f"c{number}", 6, parameters(chain.d))
        chain.permute(f"c{number}", f"t{number}", (0, 2, 3, 1))
        parts.append(chain.reshape(f"t{number}", f"p{number}", (1, side * side * 2, 3)))
    chain.op("sigmoid", [join(chain, parts, "j")], "y")


def pieces(chain: Chain, join: Join) -> None:
    """Take half of either part of a concat as one slice."""
    parts = [chain.into(chain.start((1, 3, 4, 4)), f"p{i}", 4, parameters(chain.d)) for i in (0, 1)]
    chain.part(join(chain, parts, "j"), "v", 1, 2, 4)
    chain.op("sigmoid", ["v"], "y")


BLOCKS: dict[str, tuple[Callable[[Chain, Join], None], bool]] = {
    "focus": (focus, True),
    "dense": (dense, True),
    "stack": (stack, True),
    "ssd": (ssd, False),
    "pieces": (pieces, False),
}


def main(arguments: list[str] | None = None) -> int:
    """Record every block in every type, in place and, where there are parameters, copied."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("oracle", type=Path, help="folder with oracle.py")
    parser.add_argument("--to", type=Path, default=FILE)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    sys.path.insert(0, str(options.oracle))
    oracle = importlib.import_module("oracle")
    runner, metas, arrays = oracle.Oracle(timeout=300), [], {}
    for name, (block, fixed) in BLOCKS.items():
        # garbage read as float16 may be an infinity, which stops the vendor's simulator
        for dtype in ("u8", "i8", "i16", "f16")[: 4 if fixed else 3]:
            for join in (in_place,) if dtype == "f16" else (in_place, copied):
                outcome = "copied" if join is copied else "lost" if fixed else "mixed"
                rng = np.random.default_rng(options.seed)
                chain = Chain(Draw(oracle, rng, dtype))
                del chain.recipe.inputs["x"]
                block(chain, join)
                title = f"{name} {dtype} {outcome}"
                ((meta, values),) = record(oracle, runner, title, [chain.recipe])
                arrays |= {f"{len(metas)}.{key}": value for key, value in values.items()}
                metas.append(meta)
                print(title, *meta["engines"], flush=True)
    np.savez_compressed(options.to, meta=np.array(json.dumps(metas)), **arrays)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""``--codes``: files that hold codes, as other runtimes take them."""

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from npusim.errors import ConfigError
from npusim.ir.graph import Graph
from npusim.quantization.dataset import load_raw


def codes_of(graph: Graph, inputs: list[Path] | None) -> tuple[str, dict[str, NDArray[Any]]]:
    """Return (label, arrays as they are in the files), for ``Program.run_codes``.

    Raises
    ------
    ConfigError
        When there are no files, or the model has no integer input.
    DatasetError
        Naming the file.
    """
    if not inputs:
        raise ConfigError(
            "there is nothing to run on",
            where="--codes",
            rule="codes come from --input: one npy file or picture per model input",
        )
    if all(graph.spec(name).dtype.is_float for name in graph.inputs):
        raise ConfigError(
            "no input of this model holds codes",
            where="--codes",
            rule=", ".join(f"{n!r} is {graph.spec(n).dtype.value}" for n in graph.inputs),
            remedy="leave --codes out: float inputs take real numbers",
        )
    return " ".join(path.name for path in inputs), load_raw(inputs, graph)

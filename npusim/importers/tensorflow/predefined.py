"""The toolkit's ``predef_file``: an npz with values of nodes."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from npusim.errors import ModelImportError
from npusim.importers.common.builder import Array, refuse_absent, suggestion
from npusim.importers.tensorflow.context import TfNode
from npusim.reading import arrays


def read_predefined(
    path: str | Path | None, nodes: Mapping[str, TfNode], where: str
) -> dict[str, Array]:
    """Return tensor -> value.

    Names are nodes; ``/`` is written ``#``, as npz files cannot hold it.

    Raises
    ------
    ModelImportError
        When the file cannot be read or names a node that is not there.
    """
    if path is None:
        return {}
    path = Path(path)
    refuse_absent(path, "predef_file")
    values: dict[str, Array] = {}
    try:
        with arrays.open_npz(path) as archive:
            for key in archive.names:
                name = key.replace("#", "/").removesuffix(":0")
                if name not in nodes:
                    raise ModelImportError(
                        f"predef_file {path.name!r} names {name!r}, which is no node",
                        where=where,
                        remedy=suggestion(name, nodes),
                    )
                value = archive.read(key)
                values[f"{name}:0"] = value.astype(np.float32) if value.dtype == float else value
    except arrays.DAMAGE as error:
        raise ModelImportError(
            f"cannot be read: {error}",
            where=str(path),
            rule="an .npz of arrays",
            remedy="write it with numpy.savez",
        ) from error
    return values

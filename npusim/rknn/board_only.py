"""Calls that only mean something to a real board, or to the vendor's own files."""

from pathlib import Path
from typing import Any

from npusim import environment
from npusim.errors import ConfigError
from npusim.host.custom import register
from npusim.rknn.boundary import boundary
from npusim.rknn.state import OK, RknnState, as_path, failed, nothing

BUILT_IN = ("Exp", "ResizeArea", "TruncateDiv")
"""Operators of TensorFlow that the toolkit's examples bring as archives."""


class BoardOnly(RknnState):
    """Pre-compiled, encrypted and synchronised models, firmware, custom operators."""

    @boundary(failed)
    def export_rknn_precompile_model(self, export_path: Any = None) -> int:
        """Return -1, or write the plain model when NPUSIM_PRECOMPILE=copy."""
        if environment.PRECOMPILE.read() != "copy":
            raise ConfigError(
                "only a board with the vendor's driver can pre-compile a model",
                remedy="use export_rknn, or set NPUSIM_PRECOMPILE=copy to write the plain model",
            )
        self._log.warning("NPUSIM_PRECOMPILE=copy: the plain model is written, not pre-compiled")
        self._export(export_path)
        return OK

    @boundary(failed)
    def export_rknn_sync_model(
        self, input_model: Any = None, sync_uids: Any = None, output_model: Any = None
    ) -> int:
        """Copy a model file, with the layers after which a board would synchronise."""
        from npusim.importers.stored import load_with_meta
        from npusim.ir import archive

        source, copy = as_path(input_model, "input_model"), as_path(output_model, "output_model")
        graph, meta = load_with_meta(source)
        uids = [sync_uids] if isinstance(sync_uids, int) else list(sync_uids or ())
        known = {node.uid for node in graph.nodes}
        unknown = [uid for uid in uids if uid not in known]
        if unknown or not uids:
            raise ConfigError(
                f"sync_uids {sync_uids!r}", rule=f"uids of layers of the model: {sorted(known)}"
            )
        archive.save(graph, copy, meta=meta | {"sync_uids": uids})
        self._log.warning("sync_uids are stored; the simulator runs all layers in order anyway")
        return OK

    @boundary(failed)
    def export_encrypted_rknn_model(
        self, input_model: Any, output_model: Any = None, crypt_level: int = 1
    ) -> int:
        """Return -1: the vendor's encryption is not public."""
        raise ConfigError(
            f"{input_model}: npusim cannot encrypt models",
            rule="the vendor's encryption is not public",
            remedy="encrypt with the vendor's tool before the model goes to a board",
        )

    @boundary(nothing)
    def register_op(self, op_path: Any, function: Any = None) -> None:
        """Let a Python function compute operators that npusim does not have.

        They and all that depends on them run on the CPU, behind the NPU part, in float. An archive
        of the toolkit's holds code for a board's shader and is not read; the operators of its
        examples are built in. Functions are known to all objects of the process, and are not
        stored by ``export_rknn``.

        Parameters
        ----------
        op_path : str or path
            Type of the operator in the model; or an archive, ``.rknnop``, named like its operator.
        function : callable, optional
            Takes an array for each input in the model's own layout, and by name the attributes it
            has parameters for; returns an array or one for each output.
        """
        if function is not None:
            name = Path(op_path).stem if str(op_path).endswith(".rknnop") else op_path
            register(name, function)
            self._log.info(f"register_op: {name} is computed by {function!r}")
            return
        path = as_path(op_path, "op_path")
        if path.stem in BUILT_IN:
            self._log.info(f"register_op: {path.stem} is an operator of npusim; {path} is not read")
            return
        self._log.warning(
            f"register_op: {path} holds code for a board's shader, which npusim does not run; give "
            f"register_op({path.stem!r}, function) a Python function that computes the operator"
        )

    @boundary(failed)
    def load_firmware(self, fw_dir: Any = None) -> int:
        """Return 0: the simulator has no firmware."""
        self._log.warning("load_firmware has no effect in the simulator")
        return OK

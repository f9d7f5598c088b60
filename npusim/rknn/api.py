"""RKNN-Toolkit 1.x's class: the same calls and return values, on npusim's typed API.

Parameters and their defaults: RKNN-Toolkit user guides 1.0.0 to 1.7.5. Unlike the rest of npusim,
nothing here raises: a call that fails logs why and returns -1 or None.
"""

import os
from collections import OrderedDict
from collections.abc import Sequence
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npusim.errors import ConfigError, NpusimError
from npusim.explain import see
from npusim.plain import printable
from npusim.rknn.board_only import BoardOnly
from npusim.rknn.boundary import boundary
from npusim.rknn.frameworks import OtherFrameworks
from npusim.rknn.hybrid import HybridQuantization
from npusim.rknn.options import options_of
from npusim.rknn.platforms import check_runtime_target, transport_to
from npusim.rknn.printed import all_platforms, devices, sdk_version, support
from npusim.rknn.state import OK, as_path, failed, nothing
from npusim.rknn.user_inputs import fill_destinations

Outputs = list[NDArray[np.float32]]


def _no_devices() -> tuple[list[str], list[str]]:
    return [], []


class RKNN(OtherFrameworks, HybridQuantization, BoardOnly):
    """Convert a model, run it on the simulated NPU and estimate its speed.

    Several objects may be used at once; the calls of one object run one after another.

    Parameters
    ----------
    verbose : bool
        Show D and I lines as well as W and E.
    verbose_file : path, optional
        Store the log there; needs ``verbose=True``.
    target, device_id, perf_debug : optional
        As in ``init_runtime`` (releases 0.9.3 to 0.9.6 had them here).

    Examples
    --------
    >>> rknn = RKNN()
    >>> rknn.config(mean_values=[[127.5, 127.5, 127.5]], std_values=[[127.5, 127.5, 127.5]])
    >>> rknn.load_onnx("missing.onnx")
    -1
    >>> rknn.release()
    """

    def __enter__(self) -> "RKNN":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()

    @property
    def rknn_base(self) -> "RKNN":
        """Return this object: the toolkit kept its work in one below, which scripts call too."""
        return self

    # ---- conversion

    @boundary(nothing)
    def config(
        self,
        batch_size: int = 100,
        epochs: int = -1,
        channel_mean_value: Any = None,
        mean_values: Any = None,
        std_values: Any = None,
        reorder_channel: Any = None,
        need_horizontal_merge: bool = False,
        quantized_dtype: str | None = "asymmetric_affine-u8",
        quantized_algorithm: str | None = "normal",
        mmse_epoch: int = 3,
        optimization_level: int = 3,
        target_platform: str | Sequence[str] | None = None,
        quantize_input_node: bool = False,
        merge_dequant_layer_and_output_node: bool = False,
        model_pruning: bool = False,
        force_builtin_perm: bool = False,
        output_optimize: int = 0,
        do_sparse_network: bool = True,
        remove_tensorflow_output_permute: bool = False,
        inputs_scale_range: Any = None,
        quantized_moving_alpha: float = 0.01,
        quantized_divergence_nbins: int = 1024,
        input_fitting: str = "scale",
        samples: Any = None,
        restart: Any = None,
        optimize: Any = None,
        dtype: Any = None,
        model_data_format: Any = None,
        model_quantize: Any = None,
        caffe_mean_file: Any = None,
        mean_file: Any = None,
        input_normalization: Any = None,
        force_gray: Any = None,
        random_crop: Any = None,
        random_flip: Any = None,
        random_mirror: Any = None,
        random_brightness: Any = None,
        random_contrast: Any = None,
        deconv_merge: bool = True,
        conv_mul_merge: bool = True,
        quantized_hybrid: bool = False,
        toolkit: str | None = None,
        no_join: Sequence[str] | None = None,
        avoid_driver_faults: bool = False,
    ) -> None:
        """Set preprocessing, quantization and target; a mistake makes the next call return -1."""
        given = {name: value for name, value in locals().items() if name != "self"}
        self._config_error = None
        try:
            self._options = options_of(given)
        except NpusimError as error:
            self._config_error = error
            raise
        self._say_what_has_no_effect()

    def _say_what_has_no_effect(self) -> None:
        for text in self._options.silent:
            self._log.debug(f"config: {text} does not change what npusim computes")
        for text in self._options.missed:
            self._log.warning(
                f"config: {text} has no effect, npusim builds the model without it: prepare "
                f"pictures and model beforehand {see('config-without-effect')}"
            )

    @boundary(failed)
    def load_onnx(
        self,
        model: str | os.PathLike[str],
        inputs: Sequence[str] | None = None,
        input_size_list: Sequence[Sequence[int]] | None = None,
        outputs: Sequence[str] | None = None,
    ) -> int:
        """Import an ONNX model."""
        from npusim.rknn.convert import import_onnx

        self._start()
        graph = import_onnx(as_path(model, "model"), inputs, input_size_list, outputs)
        self._loaded(graph, model)
        return OK

    @boundary(failed)
    def build(
        self,
        do_quantization: bool = True,
        dataset: str | os.PathLike[str] | None = "dataset.txt",
        pre_compile: bool = False,
        rknn_batch_size: int = -1,
    ) -> int:
        """Optimize, quantize (or convert to float16) and lower the loaded model."""
        from npusim.rknn.convert import build

        self._refuse_bad_config()
        if self._source is None:
            raise ConfigError(
                "there is no source model to build",
                rule="build comes after load_onnx"
                if self._built is None
                else "a model from load_rknn is finished; init_runtime comes next",
            )
        self._built = self._simulation = None
        self._log.new_model()
        if pre_compile:
            self._log.warning("pre_compile=True has no effect: npusim files run everywhere")
        self._built = build(
            self._source,
            self._options,
            self._log,
            do_quantization=bool(do_quantization),
            dataset=dataset,
            batch=rknn_batch_size,
        )
        self._targets = self._options.targets
        self._log.info(f"built for {', '.join(self._targets)}: {len(self._built.nodes)} layers")
        return OK

    @boundary(failed)
    def export_rknn(self, export_path: str | os.PathLike[str]) -> int:
        """Write the built model to npusim's model file."""
        self._export(export_path)
        return OK

    @boundary(failed)
    def load_rknn(self, path: str | os.PathLike[str], load_model_in_npu: bool = False) -> int:
        """Load a model file that ``export_rknn`` wrote."""
        from npusim.rknn.stored import read_model

        self._start()
        if load_model_in_npu:
            self._log.warning("load_model_in_npu=True has no effect in the simulator")
        self._built, meta = read_model(as_path(path, "path"))
        self._targets = tuple(meta.get("target_platform") or (self._built.target,))
        self._log.info(f"{path}: {len(self._built.nodes)} layers for {', '.join(self._targets)}")
        return OK

    # ---- runtime

    @boundary(failed)
    def init_runtime(
        self,
        target: str | None = None,
        target_sub_class: Any = None,
        device_id: str | None = None,
        perf_debug: bool = False,
        eval_mem: bool = False,
        async_mode: bool = False,
        rknn2precompile: bool = False,
    ) -> int:
        """Prepare the simulator: bind and compile the kernels of all layers."""
        self._refuse_bad_config()
        if self._built is None:
            raise ConfigError(
                "there is no model to run", rule="init_runtime comes after build or load_rknn"
            )
        target = target or self._default_target
        perf_debug = bool(perf_debug or self._default_perf_debug)
        said = check_runtime_target(target, self._built.target)
        if said:
            self._log.once(said)
        if device_id is not None:
            self._log.debug(f"device_id {device_id!r}: no device is used by the simulator")
        if perf_debug and not target:
            self._log.warning("perf_debug has no effect: the simulator always lists all layers")
        if rknn2precompile:
            self._log.warning("rknn2precompile=True has no effect in the simulator")
        from npusim.rknn.simulate import Simulation

        self._simulation = None
        self._simulation = Simulation(
            self._built,
            self._log,
            async_mode=bool(async_mode),
            board=bool(target),
            perf_debug=perf_debug,
            transport=transport_to(target, device_id),
        )
        return OK

    @boundary(nothing)
    def inference(
        self,
        inputs: Any,
        data_type: Any = None,
        data_format: Any = None,
        inputs_pass_through: Any = None,
        get_frame_id: bool = False,
        outputs: Any = None,
    ) -> Outputs | tuple[Outputs, int] | None:
        """Run the model; return one float32 array per output, in the source model's layout.

        Parameters
        ----------
        inputs : list of ndarray
            One per input, in order: N, H, W, C or H, W, C for images.
        data_type : str or list of str, optional
            float32, float16, int8, uint8 or int16; default: as the arrays are.
        data_format : str or list of str, optional
            ``"nhwc"`` (default) or ``"nchw"``, for inputs with four axes.
        inputs_pass_through : list of int, optional
            1 for inputs that already hold the model's own type and layout.
        get_frame_id : bool
            Return (outputs, frame number).
        outputs : list of ndarray, optional
            Arrays to fill, which fix shape and type (releases 1.0 to 1.2).
        """
        frame, found = self._running().infer(
            inputs,
            data_type=data_type,
            data_format=data_format,
            pass_through=inputs_pass_through,
        )
        result = found if outputs is None else fill_destinations(outputs, found)
        return (result, frame) if get_frame_id else result

    @boundary(nothing)
    def eval_perf(
        self,
        inputs: Any = None,
        data_type: Any = None,
        data_format: Any = None,
        is_print: bool = True,
        loop_cnt: int = 1,
        export_perf_statistics: bool = False,
        html: str | os.PathLike[str] | None = None,
    ) -> dict[str, Any] | None:
        """Print and return the estimated time of each layer on the NPU, in microseconds.

        Nothing runs: ``inputs`` and ``loop_cnt`` make no difference. ``html`` is npusim's own: a
        page to send with the same times.
        """
        simulation = self._running()
        if inputs is not None:
            self._log.once("eval_perf: inputs are not needed; the estimate does not depend on them")
        if loop_cnt != 1:
            self._log.once("eval_perf: loop_cnt is ignored; every run of the estimate is the same")
        if simulation.is_float:
            self._log.once("eval_perf: the NPU runs float16 models much slower than quantized ones")
        simulation.write_page(html)
        result, text = simulation.perf(statistics=bool(export_perf_statistics))
        if is_print:
            print(printable(text, lines=True))
        return result

    @boundary(nothing)
    def eval_memory(self, is_print: bool = True) -> dict[str, dict[str, int]] | None:
        """Print and return the memory that a run needs on the chip, in bytes."""
        result, text = self._running().memory()
        if is_print:
            print(printable(text, lines=True))
        return result

    @boundary(failed)
    def accuracy_analysis(
        self,
        inputs: Any,
        output_dir: str | os.PathLike[str] = "./snapshot",
        calc_qnt_error: bool = True,
        target: str | None = None,
        device_id: str | None = None,
        dump_file_type: str = "tensor",
        html: str | os.PathLike[str] | None = None,
    ) -> int:
        """Compare every quantized layer with float; files: docs/accuracy-analysis.md.

        ``html`` is npusim's own: a page to send (docs/report.md).
        """
        from npusim.rknn.accuracy import accuracy_analysis

        self._refuse_bad_config()
        if target and self._built is not None:
            said = check_runtime_target(target, self._built.target)
            self._log.once(said or f"target {target}: simulated, bits are those of the chip")
        accuracy_analysis(
            self._source,
            self._built,
            self._log,
            inputs=inputs,
            output_dir=output_dir,
            errors=bool(calc_qnt_error),
            on_npu=bool(target),
            file_type=dump_file_type,
            html=html,
        )
        return OK

    @boundary(nothing)
    def get_sdk_version(self) -> str | None:
        """Return version lines of npusim in the toolkit's form."""
        self._running()
        return sdk_version()

    @boundary(_no_devices)
    def list_devices(self) -> tuple[list[str], list[str]]:
        """Print and return the connected boards: none."""
        print(devices())
        return [], []

    @boundary(nothing)
    def list_support_target_platform(
        self, rknn_model: str | os.PathLike[str] | None = None
    ) -> dict[str, list[str]] | None:
        """Print and return the platforms in a model (default: this one) and those that run it.

        Without a model all platforms are printed, by family, and None is returned.
        """
        if rknn_model is not None:
            from npusim.rknn.model_config import stored_targets

            targets = stored_targets(as_path(rknn_model, "rknn_model"))
        elif self._built is not None:
            targets = self._targets
        else:
            print(all_platforms())
            return None
        text, result = support([name.lower() for name in targets])
        print(printable(text, lines=True))
        return result

    @boundary(nothing)
    def fetch_rknn_model_config(
        self, model_path: str | os.PathLike[str]
    ) -> OrderedDict[str, Any] | None:
        """Return the description of a stored model, with the vendor's keys."""
        from npusim.rknn.model_config import stored_config

        return stored_config(as_path(model_path, "model_path"))

    @boundary(nothing)
    def release(self) -> None:
        """Forget the model and free its memory; may be called again."""
        self._source = self._built = self._simulation = None
        self._targets = ()

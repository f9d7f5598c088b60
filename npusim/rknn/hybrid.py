"""Hybrid quantization: step 1, step 2 and direct_build."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from npusim.errors import ConfigError
from npusim.rknn.boundary import boundary
from npusim.rknn.state import OK, RknnState, as_path, failed

if TYPE_CHECKING:
    from npusim.rknn.hybrid_steps import Built


class HybridQuantization(RknnState):
    """Layers with number formats of their own, through files that users edit."""

    @boundary(failed)
    def hybrid_quantization_step1(self, dataset: Any = None) -> int:
        """Measure the loaded model; write ``<name>.json``, ``.data`` and ``.quantization.cfg``."""
        from npusim.rknn.hybrid_steps import step1

        self._refuse_bad_config()
        if self._source is None:
            raise ConfigError(
                "there is no source model", rule="hybrid_quantization_step1 comes after load_onnx"
            )
        self._log.new_model()
        self._take(step1(self._source, self._options, self._log, dataset=dataset))
        return OK

    @boundary(failed)
    def hybrid_quantization_step2(
        self,
        model_input: Any,
        data_input: Any,
        model_quantization_cfg: Any,
        dataset: Any = None,
        pre_compile: bool = False,
    ) -> int:
        """Build the model as the edited cfg file says."""
        as_path(model_quantization_cfg, "model_quantization_cfg")
        if dataset is not None:
            self._log.info(
                f"dataset {dataset} is not read: all ranges come from {model_quantization_cfg}"
            )
        self._direct(model_input, data_input, model_quantization_cfg, pre_compile)
        return OK

    @boundary(failed)
    def direct_build(
        self,
        model_input: Any,
        data_input: Any,
        model_quantize: Any = None,
        pre_compile: bool = False,
    ) -> int:
        """Build from the files of step 1; without a cfg file the model becomes float16."""
        self._direct(model_input, data_input, model_quantize, pre_compile)
        return OK

    @boundary(failed)
    def export_rknn_quant_params(self, model: Any, only_io: bool = True) -> int:
        """Write ``<model_name>_quant_param.yml`` of a stored model into the working directory."""
        from npusim.importers.stored import load_stored
        from npusim.rknn.quant_params import write_quant_params

        path = as_path(model, "model")
        graph = load_stored(path)
        target = Path(f"{path.stem}_quant_param.yml")
        write_quant_params(graph, target, only_io=bool(only_io))
        self._log.info(f"quantization parameters of {path} are in {target.absolute()}")
        return OK

    def _direct(self, model_input: Any, data_input: Any, cfg: Any, pre_compile: Any) -> None:
        from npusim.rknn.hybrid_steps import build_from_files

        self._refuse_bad_config()
        self._log.new_model()
        if pre_compile:
            self._log.warning("pre_compile=True has no effect: npusim files run everywhere")
        self._built = self._simulation = None
        built = build_from_files(
            as_path(model_input, "model_input"),
            as_path(data_input, "data_input"),
            None if cfg is None else as_path(cfg, "cfg"),
            self._options,
            self._log,
        )
        self._source = built.source
        self._take(built)

    def _take(self, built: "Built") -> None:
        self._simulation = None
        self._built, self._targets = built.graph, built.targets

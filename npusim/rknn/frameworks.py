"""Loaders of other frameworks' models: TensorFlow Lite, PyTorch, else the way over ONNX."""

from typing import Any

from npusim.errors import ConfigError, NpusimError
from npusim.rknn.boundary import boundary
from npusim.rknn.state import OK, RknnState, as_path, failed

ONNX_ROUTES = {
    "Caffe": "convert it with caffe2onnx and call load_onnx",
    "TensorFlow": "convert the frozen graph with 'python -m tf2onnx.convert --graphdef model.pb "
    "--inputs in:0 --outputs out:0 --output model.onnx' and call load_onnx",
    "Darknet": "convert cfg and weights to ONNX and call load_onnx",
    "MXNet": "call mxnet.onnx.export_model and load_onnx",
    "Keras": "convert it with tf2onnx (tf2onnx.convert.from_keras) and call load_onnx",
}


class OtherFrameworks(RknnState):
    """``load_*`` of every framework but ONNX."""

    @boundary(failed)
    def load_caffe(self, model: Any, proto: Any = "caffe", blobs: Any = None) -> int:
        """Return -1: export to ONNX instead."""
        raise self._not_imported("Caffe", model)

    @boundary(failed)
    def load_tensorflow(
        self,
        tf_pb: Any,
        inputs: Any = None,
        input_size_list: Any = None,
        outputs: Any = None,
        predef_file: Any = None,
        mean_values: Any = None,
        std_values: Any = None,
        size_with_batch: Any = None,
    ) -> int:
        """Return -1: export to ONNX instead."""
        raise self._not_imported("TensorFlow", tf_pb)

    @boundary(failed)
    def load_tflite(self, model: Any) -> int:
        """Import a TensorFlow Lite model; needs the extra ``tflite``."""
        from npusim.rknn.convert import import_tflite

        self._start()
        self._loaded(import_tflite(as_path(model, "model")), model)
        return OK

    @boundary(failed)
    def load_darknet(self, model: Any, weight: Any = None) -> int:
        """Return -1: export to ONNX instead."""
        raise self._not_imported("Darknet", model)

    @boundary(failed)
    def load_pytorch(
        self,
        model: Any,
        input_size_list: Any = None,
        inputs: Any = None,
        outputs: Any = None,
        convert_engine: str = "torch",
    ) -> int:
        """Import a TorchScript file; needs the extra ``torch``."""
        from npusim.rknn.convert import import_pytorch

        self._start()
        path = as_path(model, "model")
        self._loaded(import_pytorch(path, input_size_list, inputs, outputs), model)
        return OK

    @boundary(failed)
    def load_mxnet(self, symbol: Any, params: Any = None, input_size_list: Any = None) -> int:
        """Return -1: export to ONNX instead."""
        raise self._not_imported("MXNet", symbol)

    @boundary(failed)
    def load_keras(self, model: Any, convert_engine: str = "Keras") -> int:
        """Return -1: export to ONNX instead."""
        raise self._not_imported("Keras", model)

    def _not_imported(self, framework: str, model: Any) -> NpusimError:
        self._start()
        return ConfigError(
            f"{framework} models are not imported",
            where=str(model),
            rule="npusim imports ONNX, TensorFlow Lite and TorchScript",
            remedy=ONNX_ROUTES[framework],
        )

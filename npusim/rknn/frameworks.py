"""Loaders of other frameworks' models; ``npusim.importers.formats`` says which are imported."""

from typing import Any

from npusim.errors import ConfigError, NpusimError
from npusim.importers.formats import load_as, refusal
from npusim.rknn.boundary import boundary
from npusim.rknn.state import OK, RknnState, as_path, failed

_CAFFE_READERS = ("caffe", "lstm_caffe")


class OtherFrameworks(RknnState):
    """``load_*`` of every framework but ONNX."""

    @boundary(failed)
    def load_caffe(self, model: Any, proto: Any = "caffe", blobs: Any = None) -> int:
        """Import a Caffe network; without ``blobs`` its weights are seeded pseudo-random numbers.

        ``proto`` names the toolkit's reader ("caffe" or "lstm_caffe") and changes nothing here.
        """
        self._start()
        if proto not in _CAFFE_READERS:
            raise ConfigError(
                f"proto {proto!r}",
                rule=" or ".join(map(repr, _CAFFE_READERS)),
                remedy="the network goes to model, the .caffemodel to blobs",
            )
        weights = False if blobs is None else as_path(blobs, "blobs")
        self._loaded(load_as("Caffe", as_path(model, "model"), weights=weights), model)
        return OK

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
        raise self._refused("TensorFlow", tf_pb)

    @boundary(failed)
    def load_tflite(self, model: Any) -> int:
        """Import a TensorFlow Lite model; needs the extra ``tflite``."""
        self._start()
        self._loaded(load_as("TensorFlow Lite", as_path(model, "model")), model)
        return OK

    @boundary(failed)
    def load_darknet(self, model: Any, weight: Any = None) -> int:
        """Import a Darknet network, with the file of its weights."""
        self._start()
        weights = None if weight is None else as_path(weight, "weight")
        self._loaded(load_as("Darknet", as_path(model, "model"), weights=weights), model)
        return OK

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
        """Import an MXNet symbol with its parameters; sizes without batch, one per input."""
        from npusim.rknn.convert import import_mxnet

        self._start()
        path = as_path(symbol, "symbol")
        weights = None if params is None else as_path(params, "params")
        self._loaded(import_mxnet(path, weights, input_size_list), symbol)
        return OK

    @boundary(failed)
    def load_keras(self, model: Any, convert_engine: str = "Keras") -> int:
        """Return -1: export to ONNX instead."""
        raise self._refused("Keras", model)

    def _refused(self, framework: str, model: Any) -> NpusimError:
        self._start()
        return refusal(framework, str(model))

"""Loaders of other frameworks' models; ``npusim.importers.formats`` says which are imported."""

from typing import Any

import numpy as np

from npusim.errors import ConfigError, NpusimError
from npusim.importers.formats import refusal
from npusim.rknn.boundary import boundary
from npusim.rknn.state import OK, RknnState, as_path, failed

_CAFFE_READERS = ("caffe", "lstm_caffe")


class OtherFrameworks(RknnState):
    """``load_*`` of every framework but ONNX."""

    @boundary(failed)
    def load_caffe(
        self,
        model: Any,
        proto: Any = "caffe",
        blobs: Any = None,
        inputs: Any = None,
        input_size_list: Any = None,
        outputs: Any = None,
    ) -> int:
        """Import a Caffe network; without ``blobs`` its weights are seeded pseudo-random numbers.

        ``proto`` names the toolkit's reader ("caffe" or "lstm_caffe") and changes nothing here.
        ``inputs``, ``input_size_list`` and ``outputs`` as in ``load_onnx``; the toolkit has them
        there only.
        """
        from npusim.rknn.convert import import_part

        self._start()
        if proto not in _CAFFE_READERS:
            raise ConfigError(
                f"proto {proto!r}",
                rule=" or ".join(map(repr, _CAFFE_READERS)),
                remedy="the network goes to model, the .caffemodel to blobs",
            )
        weights = False if blobs is None else as_path(blobs, "blobs")
        path, part = as_path(model, "model"), (inputs, input_size_list, outputs)
        self._loaded(import_part("Caffe", path, *part, weights=weights), model)
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
        """Import a frozen TensorFlow graph, N, H, W, C.

        ``inputs`` and ``outputs`` are names of nodes, sizes leave out the batch unless
        ``size_with_batch``; ``predef_file`` is an npz with values of nodes (``/`` written ``#``).
        """
        from npusim.rknn.convert import import_tensorflow

        self._start()
        path = as_path(tf_pb, "tf_pb")
        graph = import_tensorflow(
            path,
            inputs,
            input_size_list,
            outputs,
            predef_file,
            with_batch=size_with_batch is not None and bool(np.any(size_with_batch)),
        )
        self._loaded(graph, tf_pb)
        if mean_values is not None or std_values is not None:
            self._log.warning(
                "load_tensorflow: mean_values and std_values have no effect since 1.4; "
                "give them to config"
            )
        return OK

    @boundary(failed)
    def load_tflite(
        self, model: Any, inputs: Any = None, input_size_list: Any = None, outputs: Any = None
    ) -> int:
        """Import a TensorFlow Lite model or a part of it; needs the extra ``tflite``."""
        from npusim.rknn.convert import import_part

        self._start()
        path, part = as_path(model, "model"), (inputs, input_size_list, outputs)
        self._loaded(import_part("TensorFlow Lite", path, *part), model)
        return OK

    @boundary(failed)
    def load_darknet(
        self,
        model: Any,
        weight: Any = None,
        inputs: Any = None,
        input_size_list: Any = None,
        outputs: Any = None,
    ) -> int:
        """Import a Darknet network or a part of it, with the file of its weights."""
        from npusim.rknn.convert import import_part

        self._start()
        weights = None if weight is None else as_path(weight, "weight")
        path, part = as_path(model, "model"), (inputs, input_size_list, outputs)
        self._loaded(import_part("Darknet", path, *part, weights=weights), model)
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
        """Import a Keras model, .h5 or .keras; needs the extra ``keras``.

        ``convert_engine`` names the toolkit's reader and changes nothing here.
        """
        from npusim.rknn.convert import import_part

        self._start()
        self._loaded(import_part("Keras", as_path(model, "model"), None, None, None), model)
        return OK

    def _refused(self, framework: str, model: Any) -> NpusimError:
        self._start()
        return refusal(framework, str(model))

"""The runtimes that are known, and what they are called."""

from importlib.util import find_spec
from typing import NamedTuple

from npusim.extras import missing


class Foreign(NamedTuple):
    """Another project's runtime.

    Attributes
    ----------
    called : str
        As people call it.
    module : str
        What Python imports.
    extra : str
        The extra of this package that installs it.
    purpose : str
        What it is needed for, in a few words.
    code : str
        The module of functions that run in its process.
    seconds : float, optional
        What an answer may take, else what the environment says.
    """

    called: str
    module: str
    extra: str
    purpose: str
    code: str
    seconds: float | None = None

    def require(self) -> None:
        """Look for the runtime without importing it.

        Raises
        ------
        MissingExtraError
            When it is not installed.
        """
        if find_spec(self.module) is None:
            raise missing(self.module, extra=self.extra, purpose=self.purpose)


ONNX_RUNTIME = Foreign(
    "ONNX Runtime",
    "onnxruntime",
    "onnxruntime",
    "running ONNX models",
    "npusim.foreign.with_onnxruntime",
)
LITERT = Foreign(
    "LiteRT",
    "ai_edge_litert",
    "litert",
    "running TensorFlow Lite models",
    "npusim.foreign.with_litert",
)
OPENCV = Foreign(
    "OpenCV dnn",
    "cv2",
    "opencv",
    "running Caffe and Darknet models",
    "npusim.foreign.with_opencv",
)
TENSORFLOW = Foreign(
    "TensorFlow",
    "tensorflow",
    "tensorflow",
    "running TensorFlow graphs",
    "npusim.foreign.with_tensorflow",
)
HDF5 = Foreign(
    "the HDF5 library",
    "h5py",
    "keras",
    "reading Keras models",
    "npusim.foreign.with_h5py",
    seconds=60.0,  # it reads hundreds of megabytes in one
)

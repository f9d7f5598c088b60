"""RKNN-Toolkit Lite's class: the half of RKNN that runs stored models on a board."""

from npusim.rknn.api import RKNN


class RKNNLite(RKNN):
    """The same object as ``RKNN``; scripts for boards use its ``load_rknn`` and what follows.

    The constants name the cores of chips of the toolkit's second generation. They have no effect:
    ``init_runtime(core_mask=..)`` says so.
    """

    NPU_CORE_AUTO = 0
    NPU_CORE_0 = 1
    NPU_CORE_1 = 2
    NPU_CORE_2 = 4
    NPU_CORE_0_1 = 3
    NPU_CORE_0_1_2 = 7
    NPU_CORE_ALL = 0xFFFF

"""Small estimates for tests of reports: a chain with every engine, and a bare layer list."""

from npusim.ir.dtypes import DType
from npusim.perfmodel.estimate import estimate
from npusim.perfmodel.layer_list import parse_layer_list


def layer_list(name="tiny"):
    """Stem (reshuffle and convolution), silu, wide pool, head, softmax."""
    return {
        "name": name,
        "input": [1, 3, 32, 32],
        "outputs": ["prob"],
        "layers": [
            {"name": "stem", "op": "conv", "inputs": ["data"], "out": [1, 16, 16, 16],
             "kernel": 3, "stride": 2, "pad": [1, 1, 1, 1], "act": "relu"},
            {"name": "body", "op": "conv", "inputs": ["stem"], "out": [1, 24, 16, 16],
             "kernel": 3, "pad": [1, 1, 1, 1], "act": "silu"},
            {"name": "spp", "op": "maxpool", "inputs": ["body"], "out": [1, 24, 16, 16],
             "kernel": 5, "stride": 1, "pad": [2, 2, 2, 2]},
            {"name": "gap", "op": "gap", "inputs": ["spp"], "out": [1, 24, 1, 1]},
            {"name": "flat", "op": "reshape", "inputs": ["gap"], "out": [1, 24]},
            {"name": "head", "op": "fc", "inputs": ["flat"], "out": [1, 10]},
            {"name": "prob", "op": "softmax", "inputs": ["head"], "out": [1, 10]},
        ],
    }  # fmt: skip


def tiny(dtype=DType.U8, **options):
    return estimate(parse_layer_list(layer_list(), dtype), **options)

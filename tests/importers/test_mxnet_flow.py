"""The toolkit's way with an MXNet network: load, build, export, run; a small segmentation net."""

import inspect

import numpy as np
import pytest

from npusim.rknn import RKNN
from tests.importers.mxnet_build import Net, params

SIZE = 16


def segmentation():
    """Return a symbol like fcn_resnet101's: residual blocks, dilation, a head, a resize."""
    net, arrays = Net(), {}
    rng = np.random.default_rng(3)

    def learned(name, shape, *, low=-0.3, high=0.3):
        arrays[name] = rng.uniform(low, high, shape).astype(np.float32)
        return net.var(name)

    def block(x, name, channels, filters, *, stride=1, dilate=1):
        weight = learned(f"{name}_conv_weight", (filters, channels, 3, 3))
        x = net.op("Convolution", f"{name}_conv", x, weight, kernel="[3, 3]", num_filter=filters,
                   stride=[stride] * 2, pad=[dilate] * 2, dilate=[dilate] * 2, no_bias="True",
                   layout="NCHW", num_group=1)  # fmt: skip
        size = (filters,)
        refs = [
            learned(f"{name}_bn_gamma", size, low=0.8, high=1.2),
            learned(f"{name}_bn_beta", size),
            learned(f"{name}_bn_running_mean", size),
            learned(f"{name}_bn_running_var", size, low=0.5, high=1.5),
        ]
        return net.op("BatchNorm", f"{name}_bn", x, *refs, eps="1e-05", fix_gamma="False",
                      use_global_stats="False", axis="1")  # fmt: skip

    x = net.op("Activation", "relu0", block(net.var("data"), "a", 3, 8, stride=2), act_type="relu")
    x = net.op("Pooling", "pool0", x, kernel="[3, 3]", stride="[2, 2]", pad="[1, 1]",
               pool_type="max", pooling_convention="valid")  # fmt: skip
    y = block(x, "b", 8, 8, dilate=2)
    x = net.op("Activation", "relu1", net.op("elemwise_add", "plus0", y, x), act_type="relu")
    x = net.op("Dropout", "drop", block(x, "c", 8, 8), p="0.1")
    weight, bias = learned("head_weight", (5, 8, 1, 1)), learned("head_bias", (5,))
    x = net.op("Convolution", "head", x, weight, bias, kernel="[1, 1]", num_filter=5)
    net.op("_contrib_BilinearResize2D", "resize", x, height=SIZE, width=SIZE)
    return net.text(), arrays


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text, arrays = segmentation()
    (tmp_path / "fcn-symbol.json").write_text(text)
    named = {f"{'aux' if 'running' in k else 'arg'}:{k}": v for k, v in arrays.items()}
    (tmp_path / "fcn-0000.params").write_bytes(params(named))
    rng = np.random.default_rng(1)
    for index in range(3):
        np.save(f"{index}.npy", rng.integers(0, 256, (SIZE, SIZE, 3)).astype(np.uint8))
    (tmp_path / "dataset.txt").write_text("0.npy\n1.npy\n2.npy\n")
    return tmp_path


def built(**build):
    rknn = RKNN()
    rknn.config(mean_values=[[123.675, 116.28, 103.53]], std_values=[[58.4, 57.1, 57.4]])
    assert rknn.load_mxnet("fcn-symbol.json", "fcn-0000.params", [[3, SIZE, SIZE]]) == 0
    assert rknn.build(**build) == 0
    return rknn


def test_the_example_flow_gives_the_same_classes_in_float_and_in_u8(folder):
    picture = np.load("0.npy")
    results = []
    for build in ({"do_quantization": False}, {"do_quantization": True, "dataset": "dataset.txt"}):
        rknn = built(**build)
        assert rknn.export_rknn("fcn.rknn") == 0
        again = RKNN()
        assert again.load_rknn("fcn.rknn") == 0
        assert again.init_runtime() == 0
        (out,) = again.inference(inputs=[picture])
        assert out.shape == (1, 5, SIZE, SIZE)
        results.append(out)
    half, codes = results
    a, b = np.ravel(half).astype(np.float64), np.ravel(codes).astype(np.float64)
    assert a @ b / np.sqrt((a @ a) * (b @ b)) > 0.99
    assert (half.argmax(1) == codes.argmax(1)).mean() > 0.9


def test_case_1_17_load_mxnet_has_the_toolkits_signature(folder):
    names = list(inspect.signature(RKNN.load_mxnet).parameters)
    assert names == ["self", "symbol", "params", "input_size_list"]
    assert RKNN().load_mxnet(symbol="fcn-symbol.json", input_size_list=[[3, SIZE, SIZE]]) == 0


def test_a_missing_size_and_a_missing_file_return_minus_one(folder, capfd):
    assert RKNN().load_mxnet("fcn-symbol.json", "fcn-0000.params") == -1
    text = capfd.readouterr().err
    assert "input 'data' has no size" in text
    assert "input_size_list" in text
    assert RKNN().load_mxnet("fcn-symbol.json", "fcn-0001.params", [[3, SIZE, SIZE]]) == -1
    assert "fcn-0000.params" in capfd.readouterr().err

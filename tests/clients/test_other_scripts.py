"""Scripts of boards, converters and tools in the style of the toolkit's, and custom operators."""

import numpy as np
import pytest

from tests.clients import models
from tests.clients.models import HEAD

LITE = """
import platform
import numpy as np
from rknnlite.api import RKNNLite
rknn_lite = RKNNLite()
ret = rknn_lite.load_rknn('./net.rknn')
if ret != 0:
    print('Load RKNN model failed')
    exit(ret)
ret = rknn_lite.init_runtime(target='rk1808')
if ret != 0:
    print('Init runtime environment failed')
    exit(ret)
outputs = rknn_lite.inference(inputs=[np.zeros((16, 16, 3), np.uint8)])
print('shape', outputs[0].shape, 'finite', bool(np.isfinite(outputs[0]).all()))
rknn_lite.release()
"""


def test_lite(work, script):
    assert script(LITE).code == -1
    models.small_onnx("net.onnx")
    assert script(HEAD + "rknn.load_onnx('net.onnx')\nrknn.build(False)\n"
                  "rknn.export_rknn('net.rknn')\n").code == 0  # fmt: skip
    found = script(LITE)
    assert (found.code, "shape (1, 10) finite True" in found.out) == (0, True)


CONVERT = """
import os
import sys
import yaml
from rknn.api import RKNN


def parse_model_config(yaml_config_file):
    with open(yaml_config_file) as f:
        yaml_config = f.read()
    return yaml.load(yaml_config)


def convert_model(model_path, out_path, pre_compile):
    model_configs = parse_model_config(os.path.join(model_path, 'model_config.yml'))
    for model_name in model_configs['models']:
        model = model_configs['models'][model_name]
        rknn = RKNN()
        rknn.config(**model['configs'])
        rknn.load_onnx(model=os.path.join(model_path, model['model_file_path']))
        rknn.build(do_quantization=model['quantize'],
                   dataset=os.path.join(model_path, model['dataset']), pre_compile=pre_compile)
        rknn.export_rknn(export_path='%s.rknn' % os.path.join(out_path, model_name))
        print('done')
        rknn.release()


if __name__ == '__main__':
    convert_model(sys.argv[1], sys.argv[2], sys.argv[3] in ['true', '1', 'True'])
"""
CONFIG = """
models:
    net:
        platform: onnx
        model_file_path: ./net.onnx
        quantize: true
        dataset: ./dataset.txt
        configs:
            channel_mean_value: '128 128 128 128'
            reorder_channel: '2 1 0'
            target_platform: [rv1126]
"""


def test_converting_by_a_description(work, script):
    (work / "models").mkdir()
    (work / "models" / "model_config.yml").write_text(CONFIG)
    (work / "out").mkdir()
    found = script(CONVERT, "models", "out", "False")
    assert found.code == 2  # every call failed, none was looked at
    assert found.err.splitlines()[-1].startswith("E npusim exec: RKNN.load_onnx, RKNN.build")
    models.small_onnx("models/net.onnx")
    models.dataset(name="models/dataset.txt")
    found = script(CONVERT, "models", "out", "True")
    assert found.code == 0, found.err
    assert (work / "out" / "net.rknn").is_file()


TOOLS = """
import sys
from rknn.api import RKNN
rknn = RKNN()
rknn.load_rknn('net.rknn')
ret = rknn.init_runtime(target='rk1808', rknn2precompile=True)
ret = CALL
rknn.release()
exit(ret)
"""


@pytest.mark.parametrize(
    "call",
    [
        "rknn.export_rknn_precompile_model('hw.rknn')",
        "rknn.export_encrypted_rknn_model('net.rknn', 'net.crypt.rknn', 1)",
    ],
)
def test_what_needs_the_vendor_says_so(call, work, script):
    models.small_onnx("net.onnx")
    script(HEAD + "rknn.load_onnx('net.onnx')\nrknn.build(False)\nrknn.export_rknn('net.rknn')\n")
    found = script(TOOLS.replace("CALL", call))
    assert found.code == -1
    assert "Remedy" in found.err


CUSTOM = (
    HEAD
    + """
rknn.config(target_platform=['rv1126'])
rknn.register_op('./truncatediv/TruncateDiv.rknnop')
rknn.register_op('./exp/Exp.rknnop')
assert rknn.load_tensorflow(tf_pb='./net.pb', inputs=['input'], outputs=['exp_0'],
                            input_size_list=[[1, 64]]) == 0
assert rknn.build(do_quantization=False) == 0
assert rknn.init_runtime(target="rv1126") == 0
output = rknn.inference(inputs=[np.full((1, 64), 50.0, dtype='float32')])
print(float(output[0].max()), float(output[0].min()))
"""
)


def test_custom_operators_of_the_examples_are_built_in(work, script):
    from tests.importers.tensorflow_build import Net

    net = Net()
    net.input("input", (1, 64))
    net.op("div_0", "TruncateDiv", "input", np.full((1, 64), 20, np.float32))
    net.op("exp_0", "Exp", "div_0")
    net.save(work)
    found = script(CUSTOM)
    assert found.code == 0, found.err
    assert [float(word) for word in found.out.split()] == pytest.approx([np.exp(2)] * 2, rel=2e-3)

"""Scripts in the style of the toolkit's examples, a flow each, unedited under ``npusim exec``."""

import re

import pytest

from tests.clients import models
from tests.clients.models import HEAD, has

EXAMPLE = """
import platform
import sys
import numpy as np
from PIL import Image
from rknn.api import RKNN

if __name__ == '__main__':
    # Default target and device_id
    target = 'rv1126'
    device_id = None
    if len(sys.argv) == 1:
        print('Using default target rv1126')
    elif len(sys.argv) == 2:
        target = sys.argv[1]
    elif len(sys.argv) == 3:
        target = sys.argv[1]
        device_id = sys.argv[2]
    else:
        print('Usage: python {} [target] [device_id]'.format(sys.argv[0]))
        exit(-1)

    rknn = RKNN(verbose=False)
    print('--> Config model')
    rknn.config(mean_values=[[127.5, 127.5, 127.5]], std_values=[[127.5, 127.5, 127.5]],
                reorder_channel='0 1 2', target_platform=[target])
    print('done')

    print('--> Loading model')
    ret = LOAD
    if ret != 0:
        print('Load model failed!')
        rknn.release()
        exit(ret)
    print('done')

    print('--> Building model')
    ret = rknn.build(do_quantization=True, dataset='./dataset.txt')
    if ret != 0:
        print('Build model failed!')
        rknn.release()
        exit(ret)
    print('done')

    ret = rknn.export_rknn('./net.rknn')
    if ret != 0:
        exit(ret)

    img = np.array(Image.open('./0.jpg'))
    if target.lower() == 'rk3399pro' and platform.machine() == 'aarch64':
        target = None
    ret = rknn.init_runtime(target=target, device_id=device_id)
    if ret != 0:
        print('Init runtime environment failed')
        rknn.release()
        exit(ret)

    outputs = rknn.inference(inputs=[img])
    print('shape', outputs[0].shape, 'finite', bool(np.isfinite(outputs[0]).all()))
    perf = rknn.eval_perf(inputs=[img])
    print('time', perf['total_time'])
    rknn.release()
"""
LOADS = {
    "caffe": (
        lambda: models.small_caffe("net.prototxt", "net.caffemodel"),
        "rknn.load_caffe(model='./net.prototxt', proto='caffe', blobs='./net.caffemodel')",
    ),
    "caffe without weights": (
        lambda: models.small_caffe("net.prototxt", "net.caffemodel"),
        "rknn.load_caffe(model='./net.prototxt', proto='caffe')",
    ),
    "darknet": (
        lambda: models.small_darknet("net.cfg", "net.weights"),
        "rknn.load_darknet(model='./net.cfg', weight='./net.weights')",
    ),
    "keras": (
        lambda: models.small_keras("net.h5"),
        "rknn.load_keras(model='./net.h5', convert_engine='Keras')",
    ),
    "mxnet": (
        lambda: models.small_mxnet("net-symbol.json", "net-0000.params"),
        "rknn.load_mxnet('./net-symbol.json', './net-0000.params', [[3, 16, 16]])",
    ),
    "onnx": (lambda: models.small_onnx("net.onnx"), "rknn.load_onnx(model='./net.onnx')"),
    "onnx cut": (
        lambda: models.small_onnx("net.onnx"),
        "rknn.load_onnx(model='./net.onnx', inputs=['data'], input_size_list=[[3, 16, 16]], "
        "outputs=['out'])",
    ),
    "pytorch": (
        lambda: models.small_torch("net.pt"),
        "rknn.load_pytorch(model='./net.pt', input_size_list=[[3, 16, 16]])",
    ),
    "tensorflow": (
        lambda: models.small_tensorflow(__import__("pathlib").Path()),
        "rknn.load_tensorflow(tf_pb='./net.pb', inputs=['input'], outputs=['probs'], "
        "input_size_list=[[16, 16, 3]])",
    ),
    "tflite": (
        lambda: models.small_tflite("net.tflite"),
        "rknn.load_tflite(model='./net.tflite')",
    ),
}
NEEDS = {"keras": "h5py", "pytorch": "torch", "tflite": "ai_edge_litert"}


def shapes(text):
    return re.findall(r"shape (\(.*?\)) finite True", text)


@pytest.mark.parametrize(
    "name",  # torch takes long to import
    [pytest.param(n, marks=pytest.mark.slow if n == "pytorch" else ()) for n in LOADS],
)
def test_every_format_with_the_default_and_with_arguments(name, work, script):
    if name in NEEDS and not has(NEEDS[name]):
        pytest.skip(f"{NEEDS[name]} is not installed")
    prepare, load = LOADS[name]
    prepare()
    models.dataset()
    text = EXAMPLE.replace("LOAD", load)
    for arguments in ((), ("rk1808",), ("rk3399pro", "c3d9b8674f4b94f6")):
        found = script(text, *arguments)
        assert found.code == 0, found.err
        assert len(shapes(found.out)) == 1
        assert int(re.search(r"^time (\d+)", found.out, re.M).group(1)) > 0
        assert (work / "net.rknn").is_file()
        assert ("was not measured" in found.err) == (not arguments)
        assert found.err.count("no board is used") == 1
    assert script(text, "a", "b", "c").code == -1
    assert script(text, "rk3588").code == -1


HYBRID_1 = """
from rknn.api import RKNN
rknn = RKNN()
rknn.config(mean_values=[[123.68, 116.28, 103.53]], std_values=[[57.38, 57.38, 57.38]],
            reorder_channel='0 1 2', target_platform=['rv1126'])
ret = rknn.load_onnx(model='net.onnx')
if ret != 0:
    exit(ret)
ret = rknn.hybrid_quantization_step1(dataset='./dataset.txt')
if ret != 0:
    print('hybrid_quantization_step1 failed!')
    exit(ret)
print('Please modify toy.quantization.cfg!')
rknn.release()
"""
HYBRID_2 = """
import sys
from rknn.api import RKNN
rknn = RKNN()
rknn.config(mean_values=[[123.68, 116.28, 103.53]], std_values=[[57.38, 57.38, 57.38]],
            reorder_channel='0 1 2', target_platform=['rv1126'])
name = sys.argv[1]
ret = rknn.hybrid_quantization_step2(model_input='./%s.json' % name, data_input='./%s.data' % name,
                                     model_quantization_cfg='./%s.quantization.cfg' % name,
                                     dataset='./dataset.txt')
if ret != 0:
    print('hybrid_quantization_step2 failed!')
    exit(ret)
rknn.accuracy_analysis(inputs='./dataset.txt', output_dir='./hybrid_analysis')
exit(rknn.export_rknn('./hybrid.rknn'))
"""
STORED = """
import sys
import numpy as np
from rknn.api import RKNN
rknn = RKNN()
ret = rknn.load_rknn(sys.argv[1])
if ret != 0:
    print('Load failed!')
    exit(ret)
ret = rknn.init_runtime(target=sys.argv[2] if len(sys.argv) > 2 else None, perf_debug=True,
                        eval_mem=True)
if ret != 0:
    exit(ret)
outputs = rknn.inference(inputs=[np.zeros((16, 16, 3), np.uint8)])
print('shape', outputs[0].shape, 'finite', bool(np.isfinite(outputs[0]).all()))
rknn.eval_perf(loop_cnt=100)
rknn.eval_memory()
print(rknn.get_sdk_version())
rknn.list_devices()
rknn.list_support_target_platform(rknn_model=sys.argv[1])
rknn.release()
"""


def test_hybrid_steps_and_the_stored_model(work, script):
    models.small_onnx("net.onnx")
    models.dataset()
    assert script(HYBRID_1).code == 0
    (cfg,) = work.glob("*.quantization.cfg")
    name = cfg.name.removesuffix(".quantization.cfg")
    layer = re.search(r"'?@(Conv[^:']*):weight'?:", cfg.read_text()).group(1)
    text = re.sub(
        r"\ncustomized_quantize_layers:.*?\nquantize_parameters",
        f"\ncustomized_quantize_layers:\n    {layer}: dynamic_fixed_point-i16\nquantize_parameters",
        cfg.read_text(),
        flags=re.S,
    )
    cfg.write_text(text)
    found = script(HYBRID_2, name)
    assert found.code == 0, found.err
    assert found.err.count("dataset.txt has 2 lines; the first sample is used") == 1
    assert (work / "hybrid_analysis" / "entire_qnt_error_analysis.txt").is_file()
    found = script(STORED, "hybrid.rknn")
    assert (found.code, shapes(found.out)) == (0, ["(1, 10)"])
    assert script(STORED, "hybrid.rknn", "rv1109").code == 0
    assert script(STORED, "hybrid.rknn", "rk1808").code == -1
    assert script(STORED, "other.rknn").code == -1


OTHERS = {
    "batch": '''
rknn.config(mean_values=[[0, 0, 0]], std_values=[[255, 255, 255]], target_platform=['rk1808'])
rknn.load_onnx(model='net.onnx')
assert rknn.build(do_quantization=True, dataset='dataset.txt', rknn_batch_size=4) == 0
assert rknn.init_runtime() == 0
img = np.array(Image.open('0.jpg'))
img = np.concatenate((img, img, img, img), axis=0)
outputs = rknn.inference(inputs=[img])
outputs[0] = outputs[0].reshape((4, -1))
assert (outputs[0] == outputs[0][0]).all()
''',
    "mmse and kl": '''
for algorithm in ('mmse', 'kl_divergence', 'moving_average'):
    rknn.config(channel_mean_value='128 128 128 128', reorder_channel='2 1 0', batch_size=10,
                epochs=2, quantized_algorithm=algorithm, mmse_epoch=1)
    assert rknn.load_onnx('net.onnx') == 0
    assert rknn.build(True, 'dataset.txt') == 0
''',
    "formats": '''
for dtype in ('asymmetric_quantized-u8', 'dynamic_fixed_point-8', 'dynamic_fixed_point-16'):
    rknn.config(mean_values=[127.5] * 3, std_values=[127.5] * 3, quantized_dtype=dtype)
    assert rknn.load_onnx('net.onnx') == 0
    assert rknn.build(do_quantization=True, dataset='dataset.txt', pre_compile=True) == 0
    assert rknn.init_runtime(target='rk1808') == 0
    outs = rknn.rknn_base.inference(inputs=[np.zeros((16, 16, 3))], data_type='uint8',
                                    data_format='nhwc', outputs=None)
    assert outs[0].dtype == np.float32
''',
    "float, with a list that is not there": '''
rknn.config(channel_mean_value='0 0 0 255', reorder_channel='0 1 2', target_platform='RV1109')
rknn.load_onnx(model='net.onnx')
rknn.build(do_quantization=False, dataset='./dataset')
rknn.export_rknn(export_path='float.rknn')
rknn.load_rknn('float.rknn')
assert rknn.init_runtime('rv1109') == 0
assert rknn.eval_perf(inputs=[np.zeros((16, 16, 3), np.uint8)], data_type='uint8',
                      data_format='nhwc', is_print=True)['total_time'] > 0
''',
    "accuracy analysis": '''
rknn.config(mean_values=[[0, 0, 0]], std_values=[[255, 255, 255]])
rknn.load_onnx(model='net.onnx')
rknn.build(do_quantization=True, dataset='./dataset.txt')
assert rknn.accuracy_analysis('./dataset.txt', target='rk1808') == 0
assert rknn.accuracy_analysis(inputs=['0.jpg'], output_dir='./other', calc_qnt_error=True) == 0
''',
    "two objects, several releases": '''
other = RKNN(verbose=True, verbose_file='./log.txt')
for each in (rknn, other):
    each.config(batch_size=1, target_platform=['rv1126', 'rv1109'])
    assert each.load_onnx(model='net.onnx') == 0
    assert each.build(do_quantization=True, dataset='./dataset.txt') == 0
    assert each.init_runtime(target='RV1126', async_mode=True) == 0
    outputs, frame = each.inference([np.zeros((1, 16, 16, 3), np.uint8)], get_frame_id=True)
for each in (rknn, other):
    each.release()
    each.release()
''',
    "pass through": '''
rknn.config(mean_values=[[127.5, 127.5, 127.5]], std_values=[[127.5, 127.5, 127.5]])
rknn.load_onnx(model='net.onnx')
rknn.build(do_quantization=True, dataset='./dataset.txt')
rknn.init_runtime()
pixels = np.array(Image.open('0.jpg'))
plain = rknn.inference(inputs=[pixels])
chw = rknn.inference(inputs=[pixels.transpose(2, 0, 1)], data_format='nchw')
assert (plain[0] == chw[0]).all()
assert rknn.inference(inputs=[pixels.transpose(2, 0, 1)[None]], inputs_pass_through=[1]) is not None
''',
    "quantization parameters and the file's description": '''
rknn.load_onnx(model='net.onnx')
rknn.build(do_quantization=True, dataset='./dataset.txt')
rknn.export_rknn('net.rknn')
assert rknn.export_rknn_quant_params('net.rknn', only_io=False) == 0
assert rknn.fetch_rknn_model_config('net.rknn')['target_platform'] == ['RK1808']
assert rknn.list_support_target_platform('net.rknn')['support_target_platform'][1] == 'RK1808'
''',
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_other_flows(name, work, script):
    models.small_onnx("net.onnx")
    models.dataset()
    found = script(HEAD + OTHERS[name] + "rknn.release()\n")
    assert found.code == 0, found.err


INPUTS = (
    HEAD
    + """
rknn.config(mean_values=[[0, 0, 0], [0, 0, 0]], std_values=[[1, 1, 1], [1, 1, 1]],
            reorder_channel='0 1 2#0 1 2', target_platform=['rk1808'])
assert rknn.load_onnx(model='./net.onnx') == 0
with open('dataset.txt', 'w') as f:
    f.write('./0.jpg ./1.npy\\n./1.jpg ./1.npy\\n')
np.save('1.npy', np.full((16, 16, 3), 7, np.uint8))
assert rknn.build(do_quantization=True, dataset='./dataset.txt') == 0
assert rknn.init_runtime() == 0
images = [np.zeros((16, 16, 3), np.uint8)] * 2
outputs = rknn.inference(inputs=images, data_type=['uint8', 'uint8'], data_format=['nhwc', 'nhwc'])
assert outputs[0].shape == (1, 10)
"""
)


def test_several_inputs(work, script):
    models.small_onnx("net.onnx", inputs=2)
    models.dataset()
    found = script(INPUTS)
    assert found.code == 0, found.err
    one = INPUTS.replace("[[0, 0, 0], [0, 0, 0]]", "[[0, 0, 0]]")
    found = script(one)
    assert found.code == 0, found.err
    assert found.err.count("one list for 2 inputs") == 1


GREY = (
    HEAD
    + """
rknn.config(mean_values=[[0.1307 * 255]], std_values=[[0.3081 * 255]], target_platform=['rv1126'])
grey = np.array(Image.open('0.jpg').convert('L')).reshape(16, 16, 1)
np.save('./test.npy', grey)
with open('dataset.txt', 'w') as F:
    F.write('./test.npy')
assert rknn.load_onnx('net.onnx') == 0
assert rknn.build(do_quantization=True, dataset='dataset.txt') == 0
assert rknn.init_runtime(target='rv1126') == 0
outputs = rknn.inference(inputs=[grey])
print('  The digit number is {}'.format(outputs[0].argmax()))
"""
)


def test_one_channel(work, script):
    models.small_onnx("net.onnx", channels=1)
    models.picture("0.jpg")
    found = script(GREY)
    assert found.code == 0, found.err
    assert "The digit number is" in found.out

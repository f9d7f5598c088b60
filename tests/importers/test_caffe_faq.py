"""Cases 3.1 to 3.6 of the vendor's FAQ, the names of the cases in front."""

import numpy as np
import pytest

import npusim
from npusim.errors import ModelImportError, UnsupportedOpError
from npusim.rknn import RKNN
from tests.importers.caffe_build import input_layer, layer, load, run

POOL = "pooling_param {{ pool: MAX kernel_size: 2 stride: 2 round_mode: {} }}"
HEAD = (
    input_layer("data", (1, 3, 8, 8))
    + """
layer { name: "c" type: "Convolution" bottom: "data" top: "c"
        convolution_param { num_output: 4 kernel_size: 3 stride: 2 pad: 1 } }
layer { name: "l" type: "Convolution" bottom: "c" top: "l"
        convolution_param { num_output: 8 kernel_size: 1 } }
layer { name: "lp" type: "Permute" bottom: "l" top: "lp"
        permute_param { order: 0 order: 2 order: 3 order: 1 } }
layer { name: "mbox_loc" type: "Flatten" bottom: "lp" top: "mbox_loc" }
layer { name: "s" type: "Convolution" bottom: "c" top: "s"
        convolution_param { num_output: 4 kernel_size: 1 } }
layer { name: "sp" type: "Permute" bottom: "s" top: "sp"
        permute_param { order: 0 order: 2 order: 3 order: 1 } }
layer { name: "mbox_conf" type: "Flatten" bottom: "sp" top: "mbox_conf" }
layer { name: "mbox_priorbox" type: "PriorBox" bottom: "c" bottom: "data" top: "mbox_priorbox"
        prior_box_param { min_size: 3 max_size: 5 } }
"""
)
DETECTION = """
layer { name: "detection_out" type: "DetectionOutput" bottom: "mbox_loc" bottom: "mbox_conf"
        bottom: "mbox_priorbox" top: "detection_out"
        detection_output_param { num_classes: 2 keep_top_k: 10 } }
"""


def test_3_1_the_old_form_of_inputs_is_taken(tmp_path):
    old = 'input: "x"\ninput_dim: 1\ninput_dim: 3\ninput_dim: 4\ninput_dim: 5\n' + layer("ReLU")
    graph = load(tmp_path, old)
    assert graph.spec("x").shape == (1, 3, 4, 5)


@pytest.mark.parametrize(("word", "size"), [("CEIL", 3), ("FLOOR", 2)])
def test_3_2_round_mode_gives_both_sizes(tmp_path, word, size):
    text = input_layer("x", (1, 1, 5, 5)) + layer("Pooling", more=POOL.format(word))
    assert load(tmp_path, text).spec("y").shape == (1, 1, size, size)


@pytest.mark.parametrize("name", ["_plus0_17", "a b", "层1", "x:y/z"])
def test_3_3_any_layer_name_works_in_all_files(tmp_path, name):
    text = (input_layer("x", (1, 2, 3, 3)) + layer("AbsVal")).replace(
        'name: "l"', f'name: "{name}"'
    )
    graph = load(tmp_path, text)
    assert graph.nodes[0].origin == (name,)
    program = npusim.compile(npusim.float16(graph))
    assert program.run({"x": -np.ones((1, 2, 3, 3), np.float32)}, preprocessed=True)["y"].min() == 1
    npusim.save(graph, tmp_path / "net.npusim")
    again = npusim.load_model(tmp_path / "net.npusim")
    assert [node.name for node in again.nodes] == [node.name for node in graph.nodes]


def test_3_4_the_detection_layer_runs_on_the_cpu_or_is_cut(tmp_path):
    graph = load(tmp_path, HEAD + DETECTION)
    assert graph.results == ("detection_out",)
    assert graph.outputs == ("mbox_loc", "mbox_conf")
    names = ["mbox_loc", "mbox_conf", "mbox_priorbox"]
    assert load(tmp_path, HEAD + DETECTION, outputs=names).results == tuple(names)
    with pytest.raises(UnsupportedOpError, match="which 'DetectionOutput_detection_out' makes on"):
        load(tmp_path, HEAD + DETECTION + layer("ReLU", ("detection_out",)))


def test_3_5_constant_prior_boxes_stay_an_output(tmp_path):
    graph = load(tmp_path, HEAD)
    assert graph.outputs == ("mbox_loc", "mbox_conf", "mbox_priorbox")
    boxes = run(graph, np.zeros((1, 3, 8, 8)))[2]
    assert boxes.shape == (1, 2, 4 * 4 * 2 * 4)
    step, half = 2.0, 1.5
    first = [(1 - half) / 8, (1 - half) / 8, (1 + half) / 8, (1 + half) / 8]
    np.testing.assert_allclose(boxes[0, 0, :4], first, 1e-6)
    np.testing.assert_allclose(boxes[0, 0, 8] - boxes[0, 0, 0], step / 8, 1e-6)
    program = npusim.compile(npusim.float16(graph))
    found = program.run({"data": np.zeros((1, 3, 8, 8), np.float32)}, preprocessed=True)
    np.testing.assert_allclose(found["mbox_priorbox"], boxes, 1e-3)


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        (
            "Python",
            "python_param { module: 'rpn.proposal_layer' layer: 'ProposalLayer' "
            "param_str: \"'feat_stride': 8\" }",
        ),
        ("Proposal", "proposal_param { feat_stride: 8 }"),
    ],
)
def test_3_6_both_forms_of_the_proposal_layer_load(tmp_path, kind, more):
    head = input_layer("s", (1, 18, 4, 4)) + input_layer("b", (1, 36, 4, 4))
    info = input_layer("im_info", (1, 3))
    feeds = {"s": np.zeros((1, 18, 4, 4), np.float32), "b": np.zeros((1, 36, 4, 4), np.float32)}
    feeds["s"][0, 9 + 3] = 1  # the square anchor of the smallest scale wins everywhere
    found = []
    for bottoms, extra in ((("s", "b"), {}), (("s", "b", "im_info"), {"im_info": [[32, 32, 1]]})):
        text = head + (info if extra else "") + layer(kind, bottoms, ("rois",), more)
        graph = load(tmp_path, text)
        assert [one.op for one in graph.tail.layers] == ["Proposal"]
        given = feeds | {name: np.array(value, np.float32) for name, value in extra.items()}
        found.append(npusim.compile(npusim.float16(graph)).run(given, preprocessed=True)["rois"])
    np.testing.assert_array_equal(*found)
    np.testing.assert_array_equal(found[0][0], [0, 0, 0, 31, 31])


@pytest.mark.parametrize(
    ("settings", "rule"),
    [
        ("'feat_stride': " + "9" * 5000, "a whole number"),
        ("'feat_stride': " + "9" * 30, "a whole number"),
        ("'scales': [" + "8, " * 5000 + "]", "a list of numbers"),
        ("'scales': [" + "[" * 500 + "]", "a list of numbers"),
        ("'scales': ['x']", "a list of numbers"),
        ("'scales': [1" + "0" * 400 + "]", "a list of numbers"),
    ],
)
def test_odd_settings_of_a_python_layer_are_refused(tmp_path, settings, rule):
    head = input_layer("s", (1, 18, 4, 4)) + input_layer("b", (1, 36, 4, 4))
    more = "python_param { module: 'rpn.proposal_layer' layer: 'ProposalLayer' "
    text = head + layer("Python", ("s", "b"), ("rois",), more + f'param_str: "{settings}" }}')
    with pytest.raises(ModelImportError, match="param_str") as refused:
        load(tmp_path, text)
    assert refused.value.rule == rule
    assert len(str(refused.value)) < 1000


def test_the_toolkits_flow_with_and_without_weights(tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_text(HEAD)
    rknn = RKNN()
    rknn.config(mean_values=[[127.5] * 3], std_values=[[127.5] * 3])
    assert rknn.load_caffe(model=str(path), proto="caffe", blobs=None) == 0
    assert rknn.build(do_quantization=False) == 0
    assert rknn.init_runtime() == 0
    image = np.full((8, 8, 3), (255, 127.5, 0), np.float32)
    outputs = rknn.inference(inputs=[image], data_type="float32")
    assert [out.shape for out in outputs] == [(1, 128), (1, 64), (1, 2, 128)]
    # three channels are reversed by default: blue first, as Caffe was trained
    graph = npusim.load_model(path, weights=False)
    x = np.broadcast_to(np.array([-1, 0, 1], np.float32).reshape(1, 3, 1, 1), (1, 3, 8, 8))
    np.testing.assert_allclose(outputs[0], run(graph, x)[0], atol=5e-3)
    assert rknn.load_caffe(str(path), "caffe", str(tmp_path / "none.caffemodel")) == -1

"""config: spellings of all releases, and mistakes that the next call reports."""

import numpy as np
import pytest

from npusim.errors import ConfigError
from npusim.ir.graph import Graph, Preprocess, Source
from npusim.ir.tensor import TensorSpec
from npusim.quantization.schemes import Scheme
from npusim.rknn.channels import parse_channels
from npusim.rknn.options import parse_options
from npusim.rknn.platforms import parse_targets


def graph_with(*shapes, framework="onnx"):
    specs = {f"in{i}": TensorSpec(name=f"in{i}", shape=shape) for i, shape in enumerate(shapes)}
    return Graph(
        name="g",
        nodes=(),
        inputs=tuple(specs),
        outputs=(),
        tensors=specs,
        source=Source(framework=framework),
    )


RGB = (1, 3, 4, 4)
GREY = (1, 1, 4, 4)


def settings(*shapes, framework="onnx", **given):
    return parse_channels(**given).preprocess(graph_with(*shapes, framework=framework))


def mean_std(text, shape):
    how = settings(shape, channel_mean_value=text)["in0"]
    return how.mean, how.std


@pytest.mark.parametrize(
    "value",
    [
        "103.94 116.78 123.68 58.82",
        "103.94,116.78,123.68,58.82",
        " 103.94, 116.78  123.68 ,58.82 ",
        [103.94, 116.78, 123.68, 58.82],
        (103.94, 116.78, 123.68, 58.82),
        ["103.94", "116.78", "123.68", "58.82"],
        [[103.94, 116.78, 123.68, 58.82]],
        ["103.94 116.78 123.68 58.82"],
        np.array([103.94, 116.78, 123.68, 58.82]),
    ],
)
def test_case_1_1_three_means_and_one_scale(value):
    assert mean_std(value, RGB) == ((103.94, 116.78, 123.68), (58.82,))


def test_case_1_1_misprint_of_the_founding_list_says_the_scale_is_missing():
    with pytest.raises(ConfigError) as caught:
        mean_std("128 128 128", RGB)
    text = str(caught.value)
    assert "3 numbers; the scale is missing" in text
    assert "3 channels take 4 numbers" in text
    assert "'M0 M1 M2 S0'" in text


@pytest.mark.parametrize("value", ["7 0 0 2", "7 1 9 2", "7 2", [7, 2], [[7, 2]]])
def test_case_1_2_grey_spellings(value):
    assert mean_std(value, GREY) == ((7.0,), (2.0,))
    assert settings(GREY, mean_values=[[7]], std_values=[[2]]) == {
        "in0": Preprocess(mean=(7.0,), std=(2.0,))
    }


def test_four_channels_take_five_numbers():
    assert mean_std("1 2 3 4 5", (1, 4, 2, 2)) == ((1, 2, 3, 4), (5,))
    with pytest.raises(ConfigError, match="4 channels take 5 numbers"):
        mean_std("1 2 3 4", (1, 4, 2, 2))


@pytest.mark.parametrize(
    "given",
    [
        {"channel_mean_value": "1 2 3 4#5 0 0 6"},
        {"channel_mean_value": "1 2 3 4 # 5 6"},
        {"channel_mean_value": ["1 2 3 4", "5 6"]},
        {"channel_mean_value": [[1, 2, 3, 4], [5, 6]]},
    ],
)
def test_case_1_14_several_inputs(given):
    assert settings(RGB, GREY, **given) == {
        "in0": Preprocess(mean=(1, 2, 3), std=(4,)),
        "in1": Preprocess(mean=(5,), std=(6,)),
    }


def test_inputs_without_settings():
    assert settings(RGB, (1, 7), channel_mean_value="1 2 3 4#") == {
        "in0": Preprocess(mean=(1, 2, 3), std=(4,))
    }
    assert settings(RGB, RGB, mean_values=[[1, 2, 3], None], reorder_channel="#2 1 0") == {
        "in0": Preprocess(mean=(1, 2, 3)),
        "in1": Preprocess(reorder=(2, 1, 0)),
    }
    assert settings(RGB) == {}


@pytest.mark.parametrize("flat", [[1, 2, 3], (1.0, 2.0, 3.0), [[1, 2, 3]], np.array([1, 2, 3])])
def test_mean_values_flat_or_nested(flat):
    assert settings(RGB, mean_values=flat)["in0"].mean == (1, 2, 3)


def test_case_B2_lists_of_any_length():
    assert settings((1, 200, 2, 2), mean_values=[[1.5] * 200])["in0"].mean == (1.5,) * 200
    with pytest.raises(ConfigError, match=r"mean_values has 3 numbers(.|\n)*5 channels"):
        settings((1, 5, 2, 2), mean_values=[[1, 2, 3]])


@pytest.mark.parametrize("value", ["2 1 0", [2, 1, 0], [[2, 1, 0]], "2,1,0"])
def test_reorder_spellings(value):
    assert settings(RGB, reorder_channel=value)["in0"].reorder == (2, 1, 0)
    assert settings(RGB, reorder_channel="0 1 2") == {}


def test_caffe_models_are_reversed_unless_told_otherwise():
    assert settings(RGB, GREY, framework="caffe") == {"in0": Preprocess(reorder=(2, 1, 0))}
    assert settings(RGB, framework="caffe", reorder_channel="0 1 2") == {}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"channel_mean_value": "1 2 3 4", "mean_values": [[1, 2, 3]]}, "both given"),
        ({"channel_mean_value": "1 2 x 4"}, "not a list of numbers"),
        ({"channel_mean_value": "1 2 nan 4"}, "NaN"),
        ({"channel_mean_value": "1 2 3 0"}, "divided by 0"),
        ({"channel_mean_value": "1 2 3 4#1 2 3 4"}, "settings for 2 inputs"),
        ({"std_values": [[1, 0, 1]]}, "divided by 0"),
        ({"mean_values": [[1, 2, 3], [4, 5, 6]]}, "the model has 1: in0"),
        ({"mean_values": {"in0": 3}}, "not a list of numbers"),
        ({"reorder_channel": "0 0 1"}, "an order of 0 1 2"),
        ({"reorder_channel": "2 1"}, "an order of 0 1 2"),
        ({"reorder_channel": "2 1 0#2 1 0"}, "settings for 2 inputs"),
    ],
)
def test_wrong_channel_settings(given, says):
    with pytest.raises(ConfigError, match=says):
        settings(RGB, **given)


def test_reorder_needs_three_channels(caplog):
    assert settings(GREY, reorder_channel="0 1 2") == {}
    assert not caplog.records
    assert settings(GREY, reorder_channel="2 1 0") == {}
    assert "has no effect on input 'in0'" in caplog.text


@pytest.mark.parametrize(
    "given",
    [
        {"channel_mean_value": "0 0 0 1"},
        {"mean_values": [[0, 0, 0]]},
        {"std_values": [[1, 1, 1]]},
        {"mean_values": [[0, 0, 0]], "std_values": [[1, 1, 1]]},
    ],
)
def test_neutral_numbers_for_pictures_are_left_out_elsewhere(given, caplog):
    for shape in ((1, 512), (1, 4, 8, 8), (1, 9, 5)):
        caplog.clear()
        assert settings(shape, **given) == {}
        assert len(caplog.records) == len(given)
        assert "changes nothing" in caplog.text
    with pytest.raises(ConfigError):
        settings((1, 512), channel_mean_value="0 0 0 255")
    with pytest.raises(ConfigError):
        settings((1, 512), std_values=[[2, 2, 2]])


def test_one_list_serves_several_inputs(caplog):
    two = settings(RGB, RGB, mean_values=[[1, 2, 3]], reorder_channel="2 1 0")
    assert two["in0"] == two["in1"] == Preprocess(mean=(1, 2, 3), reorder=(2, 1, 0))
    assert caplog.text.count("one list for 2 inputs") == 2
    assert settings(RGB, RGB, channel_mean_value="1 2 3 4")["in1"].std == (4,)
    with pytest.raises(ConfigError, match="channels take"):
        settings(RGB, (1, 7), channel_mean_value="1 2 3 4")


@pytest.mark.parametrize(
    ("name", "scheme"),
    [
        ("asymmetric_quantized-u8", Scheme.U8),
        ("asymmetric_affine-u8", Scheme.U8),
        ("dynamic_fixed_point-8", Scheme.I8),
        ("dynamic_fixed_point-i8", Scheme.I8),
        ("dynamic_fixed_point-16", Scheme.I16),
        ("dynamic_fixed_point-i16", Scheme.I16),
        ("Asymmetric_Affine-U8", Scheme.U8),
        (None, Scheme.U8),
        ("", Scheme.U8),
    ],
)
def test_case_1_9_quantization_names_of_all_releases(name, scheme):
    assert parse_options(quantized_dtype=name).scheme is scheme


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"quantized_dtype": "int4"}, "quantization type 'int4'"),
        ({"quantized_algorithm": "best"}, "normal, moving_average, kl_divergence, mmse"),
        ({"quantized_algorithm": "mmse", "mmse_epoch": 0}, "mmse_epoch 0"),
        ({"quantized_algorithm": "moving_average", "quantized_moving_alpha": 2}, r"0 \.\. 1"),
        ({"quantized_moving_alpha": "a"}, "quantized_moving_alpha 'a'"),
        ({"quantized_divergence_nbins": 3}, "quantized_divergence_nbins 3"),
        ({"batch_size": 0}, "batch_size 0"),
        ({"batch_size": "many"}, "batch_size 'many'"),
        ({"epochs": 0}, "epochs 0"),
        ({"epochs": -2}, "epochs -2"),
        ({"optimization_level": 4}, r"0\.\.3"),
        ({"target_platform": "rk3588"}, "rk3588: a chip of RKNN-Toolkit 2"),
        ({"quantized_dtype": "w8a8"}, "here: asymmetric_quantized-u8"),
        ({"target_platform": ["rk1808", "rv1126"]}, "mixes two chip families"),
        ({"target_platform": "rv1127"}, "one or more of"),
        ({"target_platform": []}, "one or more of"),
    ],
)
def test_wrong_options(given, says):
    with pytest.raises(ConfigError, match=says):
        parse_options(**given)


def test_samples_used():
    assert parse_options().sample_limit is None
    assert parse_options(batch_size=10, epochs=20).sample_limit == 200
    assert parse_options(batch_size=100, epochs=1).sample_limit == 100


def test_targets():
    assert parse_targets(None) == ("rk1808",)
    assert parse_targets("RK3399Pro") == ("rk3399pro",)
    assert parse_targets(["RV1126", "rv1109"]) == ("rv1126", "rv1109")
    assert parse_targets(["rk1806", "rk1808", "rk1808"]) == ("rk1806", "rk1808")
    assert parse_targets(["RK1126", "rk1109", "rv1109"]) == ("rv1126", "rv1109")


def test_config_returns_none_and_the_next_call_fails(new, identity, capfd):
    path = identity()
    rknn = new()
    assert rknn.config(target_platform="rv1127") is None
    assert rknn.load_onnx(path) == -1
    assert "config failed before" in capfd.readouterr().err
    assert rknn.config() is None
    assert rknn.load_onnx(path) == 0
    assert rknn.config(mean_values="x") is None
    assert rknn.build(do_quantization=False) == -1
    assert rknn.config(channel_mean_value="1 2 3") is None  # known to be wrong with the model
    assert rknn.build(do_quantization=False) == -1
    text = capfd.readouterr().err
    assert "input 'x' of shape (1, 3, 2, 3)" in text
    assert "scale is missing" in text


def test_every_documented_keyword_is_accepted_quietly(new, capfd):
    rknn = new()
    rknn.config(
        batch_size=100, epochs=-1, mean_values=None, std_values=None, reorder_channel=None,
        need_horizontal_merge=False, quantized_dtype="asymmetric_affine-u8",
        quantized_algorithm="normal", mmse_epoch=3, optimization_level=3, target_platform=None,
        quantize_input_node=False, merge_dequant_layer_and_output_node=False,
        model_pruning=False, force_builtin_perm=False, output_optimize=0, do_sparse_network=True,
        remove_tensorflow_output_permute=False, inputs_scale_range=None,
        quantized_moving_alpha=0.01, quantized_divergence_nbins=1024, input_fitting="scale",
        samples=None, deconv_merge=True, conv_mul_merge=True, quantized_hybrid=False,
    )  # fmt: skip
    assert capfd.readouterr().err == ""
    rknn.config(force_builtin_perm=True, mmse_epoch=5)
    assert capfd.readouterr().err.startswith(
        "W config: force_builtin_perm=True has no effect, npusim builds the model without it"
    )


def test_unknown_keywords_are_named_once(new, capfd):
    rknn = new(colour="red")
    rknn.config(sparkle=1)
    rknn.config(sparkle=2)
    text = capfd.readouterr().err
    assert text.count("there is no parameter 'sparkle'; it is ignored") == 1
    assert text.count("'colour'") == 1


def test_keywords_of_the_second_toolkit_point_at_their_counterparts(new, identity, capfd):
    rknn = new()
    rknn.config(quant_img_RGB2BGR=True, quantized_method="channel")
    rknn.config(quant_img_RGB2BGR=True)
    text = capfd.readouterr().err
    assert text.count("'quant_img_RGB2BGR'; it is ignored; it belongs to RKNN-Toolkit 2") == 1
    assert "reorder_channel='2 1 0'" in text
    assert "'quantized_method'" in text
    assert rknn.load_onnx(identity()) == 0
    assert rknn.build(do_quantization=False, auto_hybrid=True) == 0
    assert rknn.init_runtime(core_mask=1) == 0
    text = capfd.readouterr().err
    assert "hybrid_quantization_step1 suggests" in text
    assert "all its cores" in text

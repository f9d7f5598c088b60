"""Words of RKNN-Toolkit 2, a later toolkit for other chips, and their counterparts in 1.x.

Source: the "API difference with Toolkit1" note of rknn-toolkit2, and its user guide.
"""

from collections.abc import Iterable

CHIPS = (
    "rk3562", "rk3566", "rk3568", "rk3576", "rk3588", "rk2118", "rv1103", "rv1106", "rv1103b",
    "rv1106b", "rv1126b",
)  # fmt: skip
_CONVERTED = "calibrate with pictures as they are and convert what inference is given"
KEYWORDS = {
    "quant_img_RGB2BGR": "reorder_channel='2 1 0' swaps the channels, in calibration and in "
    "inference",
    "quant_img_rgb2bgr": "reorder_channel='2 1 0' swaps the channels, in calibration and in "
    "inference",
    "quantized_method": "this chip has one scale per tensor ('layer'), quantized_algorithm chooses "
    "how it is found",
    "float_dtype": "build(do_quantization=False) makes a float16 model",
    "quantize_weight": "build(do_quantization=True) quantizes weights and activations",
    "custom_string": "there is no counterpart",
    "remove_weight": "there is no counterpart",
    "compress_weight": "weights are always compressed on this chip",
    "inputs_yuv_fmt": f"{_CONVERTED} to RGB",
    "single_core_mode": "this chip runs a model on all its cores",
    "dynamic_input": "load_onnx(input_size_list=..) fixes the sizes",
    "op_target": "npusim.api places layers; hybrid_quantization_step1 and step2 choose formats",
    "remove_reshape": "there is no counterpart",
    "sparse_infer": "do_sparse_network skips zeros",
    "enable_flash_attention": "there is no counterpart",
    "auto_hybrid": "hybrid_quantization_step1 suggests layers for 16 bits",
    "auto_hybrid_cos_thresh": "hybrid_quantization_step1 suggests layers for 16 bits",
    "auto_hybrid_euc_thresh": "hybrid_quantization_step1 suggests layers for 16 bits",
    "proposal": "hybrid_quantization_step1 always suggests layers",
    "proposal_dataset_size": "hybrid_quantization_step1 always suggests layers",
    "custom_hybrid": "customized_quantize_layers in the cfg file of hybrid_quantization_step1",
    "core_mask": "this chip runs a model on all its cores",
    "fallback_prior_device": "there is no counterpart",
    "fix_freq": "estimates are for fixed clocks",
    "input_initial_val": "there is no counterpart",
    "cpp_gen_cfg": "there is no counterpart",
    "expand_batch_size": "build(rknn_batch_size=..)",
    "roundtrip_check": "there is no counterpart",
}
"""Parameter -> what stands for it here."""

TYPES = {
    "asymmetric_quantized-8": "asymmetric_quantized-u8",
    "asymmetric_quantized-16": "dynamic_fixed_point-i16",
    "w8a8": "asymmetric_quantized-u8",
    "w8a16": "dynamic_fixed_point-i16, for weights as well",
    "w16a16i": "dynamic_fixed_point-i16",
    "w16a16i_dfp": "dynamic_fixed_point-i16",
}
"""quantized_dtype -> what is nearest here."""


def keyword_text(name: str) -> str:
    """Return what to say of a parameter of the second toolkit; empty for any other."""
    counterpart = KEYWORDS.get(name)
    return f"it belongs to RKNN-Toolkit 2; {counterpart}" if counterpart else ""


def remedy_for_chip(names: Iterable[str]) -> str:
    """Return the remedy for chips of the second toolkit; empty for any other."""
    found = [name for name in names if name in CHIPS]
    if not found:
        return ""
    return (
        f"{', '.join(found)}: a chip of RKNN-Toolkit 2 with another NPU, which npusim does not "
        "simulate"
    )

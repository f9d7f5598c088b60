"""Write MobileNetV2 with given ImageNet weights as ONNX, batch normalization kept as nodes.

``python tools/export_mobilenet_v2.py WEIGHTS.pth OUT.onnx``. The layers and their names follow
torchvision's ``mobilenet_v2`` (BSD-3-Clause), whose state dict the weights are; torchvision itself
is not needed. Needs torch (extra ``dev``) and onnx.
"""

import argparse
import io
import os
import warnings
from pathlib import Path

import onnx
import torch
from torch import nn

OPSET = 13
INPUT_SHAPE = (1, 3, 224, 224)
BATCHNORM_NODES = 52
# expansion, output channels, repeats, stride of the first: table 2 of arXiv:1801.04381
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def conv_bn_relu6(
    in_c: int, out_c: int, *, kernel: int = 1, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    """Return convolution without bias, batch normalization and relu6."""
    conv = nn.Conv2d(in_c, out_c, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out_c), nn.ReLU6())


class InvertedResidual(nn.Module):
    """Expand, filter each channel, project; add the input where the shapes allow it."""

    def __init__(self, in_c: int, out_c: int, *, stride: int, expansion: int) -> None:
        super().__init__()
        wide_c = in_c * expansion
        self.shortcut = stride == 1 and in_c == out_c
        layers: list[nn.Module] = [conv_bn_relu6(in_c, wide_c)] if expansion != 1 else []
        layers += [
            conv_bn_relu6(wide_c, wide_c, kernel=3, stride=stride, groups=wide_c),
            nn.Conv2d(wide_c, out_c, 1, bias=False),
            nn.BatchNorm2d(out_c),
        ]
        self.conv = nn.Sequential(*layers)

    def forward(self, ifm: torch.Tensor) -> torch.Tensor:
        """Run the block on N, C, H, W."""
        ofm = self.conv(ifm)
        return ifm + ofm if self.shortcut else ofm


class MobileNetV2(nn.Module):
    """The network at width 1.0 with 1000 classes."""

    def __init__(self) -> None:
        super().__init__()
        blocks: list[nn.Module] = [conv_bn_relu6(3, 32, kernel=3, stride=2)]
        in_c = 32
        for expansion, out_c, repeats, first_stride in STAGES:
            for index in range(repeats):
                stride = first_stride if index == 0 else 1
                blocks.append(InvertedResidual(in_c, out_c, stride=stride, expansion=expansion))
                in_c = out_c
        blocks.append(conv_bn_relu6(in_c, 1280))
        self.features = nn.Sequential(*blocks)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(1280, 1000))

    def forward(self, ifm: torch.Tensor) -> torch.Tensor:
        """Return logits N, 1000 of images N, 3, H, W."""
        ofm = nn.functional.adaptive_avg_pool2d(self.features(ifm), (1, 1))
        return self.classifier(torch.flatten(ofm, 1))


def export(weights: Path, out: Path) -> None:
    """Export the network with the given weights.

    Parameters
    ----------
    weights : Path
        State dict of torchvision's mobilenet_v2 (``.pth``); read without running pickled code.
    out : Path
        ONNX file to write; it appears only when it is complete and checked.
    """
    model = MobileNetV2().eval()
    model.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the tracing exporter, by choice
        torch.onnx.export(
            model,
            (torch.zeros(INPUT_SHAPE),),
            buffer,
            input_names=["input"],
            output_names=["logits"],
            opset_version=OPSET,
            dynamo=False,
            do_constant_folding=False,
            # PRESERVE keeps BatchNormalization; EVAL would fold it into the convolutions
            training=torch.onnx.TrainingMode.PRESERVE,
        )
    proto = onnx.load_model_from_string(buffer.getvalue())
    onnx.checker.check_model(proto, full_check=True)
    found = sum(node.op_type == "BatchNormalization" for node in proto.graph.node)
    if found != BATCHNORM_NODES:
        raise SystemExit(
            f"{out.name}: this torch ({torch.__version__}) left {found} of {BATCHNORM_NODES} "
            "BatchNormalization nodes; install torch 2.13"
        )
    temporary = out.with_name(f"{out.name}.{os.getpid()}.part")
    try:
        temporary.write_bytes(proto.SerializeToString())
        temporary.replace(out)
    finally:
        temporary.unlink(missing_ok=True)


def main() -> None:
    """Read the two paths and export."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("weights", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    export(arguments.weights, arguments.out)


if __name__ == "__main__":
    main()

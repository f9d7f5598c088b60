"""Host layers: the end of a network that the CPU runs in float, behind the NPU.

Boxes are decoded and sorted there, the largest values are picked: what no engine of the chip has.
Such an end is an ONNX model (``npusim.ir.graph.Tail``) that ONNX's own reference evaluator runs;
operators of other frameworks that ONNX does not have are in ``operators``.
"""

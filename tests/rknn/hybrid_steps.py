"""Steps that the tests of hybrid quantization share."""

import yaml

CFG = "toy.quantization.cfg"


def stepped(new, path, dataset, **config):
    rknn = new()
    rknn.config(**config)
    assert rknn.load_onnx(path) == 0
    assert rknn.hybrid_quantization_step1(dataset=dataset) == 0
    return rknn


def edit(layers=None, change=None, path=CFG):
    """Edit a cfg file as a user would: load, change, write."""
    with open(path) as file:
        content = yaml.safe_load(file)
    content["customized_quantize_layers"] = layers or {}
    if change:
        change(content["quantize_parameters"])
    with open(path, "w") as file:
        file.write("%YAML 1.2\n---\n" + yaml.safe_dump(content))


def step2(new, **given):
    rknn = new(**given)
    assert (
        rknn.hybrid_quantization_step2(
            model_input="toy.json",
            data_input="toy.data",
            model_quantization_cfg=CFG,
            dataset="dataset.txt",
        )
        == 0
    )
    return rknn


def bits(graph):
    return (
        {name: (spec.dtype, spec.quant) for name, spec in graph.tensors.items()},
        {name: value.tobytes() for name, value in graph.constants.items()},
        [(node.name, node.op, node.engine, node.requant) for node in graph.nodes],
    )


def layer(rknn, part):
    return next(node for node in rknn._built.nodes if part in node.name)


def ids(path=CFG):
    with open(path) as file:
        return list(yaml.safe_load(file)["quantize_parameters"])


def old_layout(records, action):
    text = f"hybrid_quantization_action: {action}\n"
    for key, record in records.items():
        record = dict(record)
        if record.get("dtype") == "asymmetric_affine":
            record["dtype"] = "asymmetric_quantized"
        text += yaml.safe_dump({key: record})
    return "%YAML 1.2\n---\n" + text


def old_records():
    with open(CFG) as file:
        return yaml.safe_load(file)["quantize_parameters"]

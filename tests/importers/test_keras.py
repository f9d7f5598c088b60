"""Keras models: recorded outputs of the real program, damaged files, code that is not run."""

import io
import json
import os
import random
import zipfile
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest

import npusim
from npusim.conformance.importer_cases import read_cases
from npusim.conformance.importers import replay_case
from npusim.errors import MissingExtraError, ModelImportError, NpusimError, UnsupportedOpError
from npusim.foreign import with_h5py
from npusim.foreign.side import Refused
from npusim.importers.keras import file as keras_file
from npusim.importers.keras.importer import load_keras
from npusim.importers.keras.weights import archive_keys, snake
from npusim.reference.evaluate import evaluate
from npusim.rknn import RKNN

RECORDS = list(read_cases(Path(__file__).with_name("keras_recorded.jsonl.gz")))
RNG = np.random.default_rng(3)


@pytest.mark.parametrize("case", RECORDS, ids=lambda case: case.label)
def test_recorded_models(case):
    assert replay_case(case) == ("", "")


# ---- models written here
def layer(kind, name, *sources, call=None, **config):
    """Return the record of a layer in the form of Keras 3."""
    args = [tensor(source) for source in sources]
    nodes = [{"args": args if call is None else call, "kwargs": {}}]
    record = {"module": "keras.layers", "class_name": kind, "config": {"name": name, **config}}
    return record | {"name": name, "inbound_nodes": nodes if sources or call else []}


def tensor(source):
    name, *index = source if isinstance(source, tuple) else (source,)
    config = {"keras_history": [name, 0, *(index or [0])]}
    return {"class_name": "__keras_tensor__", "config": config}


def start(shape, name="x"):
    return layer("InputLayer", name, batch_shape=[None, *shape])


def model(*layers, inputs=("x",), outputs=None):
    config = {
        "name": "net",
        "layers": list(layers),
        "input_layers": [[name, 0, 0] for name in inputs],
        "output_layers": [[name, 0, 0] for name in outputs or [layers[-1]["name"]]],
    }
    return {"class_name": "Functional", "config": config}


def archive(folder, record, weights=None, *, version="3.15.1", name="net.keras"):
    """Write a .keras file; weights are group -> arrays."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.create_group("layers")
        for group, arrays in (weights or {}).items():
            made = file.create_group(f"layers/{group}/vars")
            for index, value in enumerate(arrays):
                made[str(index)] = np.asarray(value, np.float32)
    path = folder / name
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr("config.json", json.dumps(record))
        packed.writestr("metadata.json", json.dumps({"keras_version": version}))
        packed.writestr("model.weights.h5", buffer.getvalue())
    return path


def hdf5(folder, record, weights=None, *, version="2.4.0", name="net.h5"):
    """Write a .h5 file; weights are layer -> (name, array) pairs."""
    path = folder / name
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps(record)
        if version:
            file.attrs["keras_version"] = version
        top = file.create_group("model_weights")
        for owner, pairs in (weights or {}).items():
            group = top.create_group(owner)
            names = [pair[0] for pair in pairs]
            group.attrs["weight_names"] = np.array(names, dtype="S")
            for key, value in pairs:
                group[key] = np.asarray(value, np.float32)
    return path


def run(graph, *values):
    feeds = {}
    for name, value in zip(graph.inputs, values, strict=True):
        array = np.asarray(value, graph.spec(name).dtype.numpy)
        feeds[name] = np.ascontiguousarray(
            array.transpose(0, 3, 1, 2) if array.ndim == 4 else array
        )
    results = evaluate(graph, feeds)
    return [results[name] for name in graph.outputs]


def test_code_in_a_file_is_named_and_never_run(tmp_path):
    marker = tmp_path / "was_run"
    code = f"open({str(marker)!r}, 'w')"
    record = model(
        start((3,)),
        layer("Lambda", "sneaky", "x", function={"class_name": "__lambda__", "config": code}),
        layer("Wonder", "odd", "sneaky"),
        layer("ReLU", "out", "odd"),
    )
    with pytest.raises(UnsupportedOpError) as caught:
        load_keras(archive(tmp_path, record))
    text = str(caught.value)
    assert "2 unsupported layers" in text
    assert "layer 'sneaky': Lambda, it holds Python code, which is never run" in text
    assert "layer 'odd': Wonder, no counterpart" in text
    assert not marker.exists()


@pytest.mark.parametrize(("version", "slope"), [("3.0.0", 1 / 6), ("2.15.0", 0.2), ("", 0.2)])
def test_hard_sigmoid_means_what_the_files_keras_meant(tmp_path, version, slope):
    record = model(start((5,)), layer("Activation", "y", "x", activation="hard_sigmoid"))
    path = hdf5(tmp_path, record, version=version)
    x = np.float32([[-4, -1, 0, 1, 4]])
    wanted = np.clip(x * slope + 0.5, 0, 1)
    np.testing.assert_allclose(run(load_keras(path), x)[0], wanted, 1e-6)


@pytest.mark.parametrize(
    ("word", "number", "wanted"),
    [
        ("Add", 3.0, [1, 4, 5]),
        ("Subtract", 1.0, [-3, 0, 1]),
        ("Multiply", 0.5, [-1, 0.5, 1]),
        ("Maximum", 0, [0, 1, 2]),
        ("Minimum", 1, [-2, 1, 1]),
    ],
)
def test_operations_with_a_number_in_h5_files(tmp_path, word, number, wanted):
    """As in MobileNetV3: .h5 files have no module, and a layer of the same class exists."""
    made = layer(word, "y", "x", call=[tensor("x"), number])
    del made["module"]
    graph = load_keras(hdf5(tmp_path, model(start((3,)), made), version="3.15.1"))
    np.testing.assert_allclose(run(graph, np.float32([[-2, 1, 2]]))[0], [wanted])


@pytest.mark.parametrize(
    ("word", "more", "wanted"),
    [
        ("TrueDivide", [2.0], [[-1, 0.5, 1]]),
        ("Absolute", [], [[2, 1, 2]]),
        ("Relu", [], [[0, 1, 2]]),
        ("Negative", [], [[2, -1, -2]]),
        ("Reshape", [[1, 3, 1]], [[[-2], [1], [2]]]),
    ],
)
def test_operations_in_h5_files_are_known_without_a_module(tmp_path, word, more, wanted):
    made = layer(word, "y", "x", call=[tensor("x"), *more])
    del made["module"]
    graph = load_keras(hdf5(tmp_path, model(start((3,)), made), version="3.15.1"))
    np.testing.assert_allclose(run(graph, np.float32([[-2, 1, 2]]))[0], wanted)


def test_keras_1_has_other_words_and_weights_in_a_row(tmp_path):
    kernel, bias = RNG.standard_normal((3, 3, 2, 4)).astype(np.float32), np.arange(4.0)
    record = {
        "class_name": "Sequential",
        "config": [
            {
                "class_name": "Convolution2D",
                "config": {
                    "name": "convolution2d_1",
                    "batch_input_shape": [None, 6, 6, 2],
                    "nb_filter": 4,
                    "nb_row": 3,
                    "nb_col": 3,
                    "border_mode": "same",
                    "subsample": [2, 2],
                    "dim_ordering": "tf",
                    "bias": True,
                    "activation": "relu",
                },
            },
            {"class_name": "Flatten", "config": {"name": "flatten_1"}},
            {"class_name": "Dense", "config": {"name": "dense_1", "output_dim": 2, "bias": False}},
        ],
    }
    dense = RNG.standard_normal((36, 2)).astype(np.float32)
    weights = {
        "convolution2d_1": [("convolution2d_1_W", kernel), ("convolution2d_1_b", bias)],
        "dense_1": [("dense_1_W", dense)],
    }
    graph = load_keras(hdf5(tmp_path, record, weights, version=""))
    later = model(
        start((6, 6, 2)),
        layer("Conv2D", "c", "x", filters=4, kernel_size=[3, 3], strides=[2, 2], padding="same",
              activation="relu"),
        layer("Flatten", "f", "c"),
        layer("Dense", "d", "f", units=2, use_bias=False),
    )  # fmt: skip
    same = load_keras(archive(tmp_path, later, {"conv2d": [kernel, bias], "dense": [dense]}))
    x = RNG.standard_normal((1, 6, 6, 2)).astype(np.float32)
    assert np.array_equal(run(graph, x)[0], run(same, x)[0])


def test_names_of_weights_in_archives():
    assert [snake(w) for w in ("Conv2D", "BatchNormalization", "ReLU", "LSTM")] == [
        "conv2d",
        "batch_normalization",
        "re_lu",
        "lstm",
    ]
    records = [{"class_name": w} for w in ("InputLayer", "Dense", "Dense")]
    records.append({"class_name": "Add", "module": "keras.src.ops.numpy"})
    assert archive_keys(records, sequential=False) == ["input_layer", "dense", "dense_1", ""]
    assert archive_keys(records, sequential=True) == ["", "dense", "dense_1", ""]


# ---- inputs and outputs
def test_open_sizes_and_cuts(tmp_path):
    record = model(
        layer("InputLayer", "x", batch_shape=[None, None, None, 3]),
        layer("ReLU", "a", "x"),
        layer("MaxPooling2D", "b", "a"),
    )
    path = archive(tmp_path, record)
    with pytest.raises(ModelImportError, match=r"input 'x' are open[\s\S]*input_shapes"):
        load_keras(path)
    graph = load_keras(path, input_shapes={"x": (1, 4, 6, 3)}, outputs=["a"])
    assert graph.spec("x").shape == (1, 3, 4, 6)
    assert graph.outputs == ("a",)
    assert graph.spec("a").shape == (1, 4, 6, 3)
    with pytest.raises(ModelImportError, match=r"no layer 'bb'[\s\S]*'b'"):
        load_keras(path, outputs=["bb"])
    for wrong in ({"inputs": ["x"]}, {"outputs": "a"}):
        with pytest.raises(ModelImportError, match=r"given|single string"):
            load_keras(path, **wrong)


def test_the_toolkits_flow(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    kernel = RNG.standard_normal((3, 3, 3, 8)).astype(np.float32) / 5
    statistics = [np.ones(8), np.zeros(8), np.full(8, 0.1), np.ones(8)]
    record = model(
        start((16, 16, 3)),
        layer("Conv2D", "c", "x", filters=8, kernel_size=[3, 3], strides=[2, 2], use_bias=False),
        layer("BatchNormalization", "n", "c"),
        layer("ReLU", "r", "n", max_value=6.0),
        layer("GlobalAveragePooling2D", "g", "r"),
        layer("Dense", "d", "g", units=4, activation="softmax"),
    )
    dense = RNG.standard_normal((8, 4)).astype(np.float32)
    groups = {"conv2d": [kernel], "batch_normalization": statistics, "dense": [dense, np.zeros(4)]}
    path = archive(tmp_path, record, groups)
    image = RNG.integers(0, 256, (16, 16, 3), np.uint8)
    (wanted,) = run(load_keras(path), image[None] / np.float32(255))
    rknn = RKNN()
    rknn.config(mean_values=[[0, 0, 0]], std_values=[[255, 255, 255]])
    assert rknn.load_keras(model=str(path), convert_engine="Keras") == 0
    assert rknn.build(do_quantization=False) == 0
    assert rknn.init_runtime() == 0
    (found,) = rknn.inference(inputs=[image])
    np.testing.assert_allclose(found, wanted, atol=5e-3)
    assert rknn.load_keras(str(tmp_path / "none.h5")) == -1


def test_without_h5py_the_extra_is_named(tmp_path, monkeypatch):
    path = archive(tmp_path, model(start((3,)), layer("ReLU", "y", "x")))

    def absent(module, *, extra, purpose):
        raise MissingExtraError(f"{purpose} needs {module}", remedy=f"npusim[{extra}]")

    monkeypatch.setattr(keras_file, "require", absent)
    with pytest.raises(MissingExtraError, match=r"h5py[\s\S]*npusim\[keras\]"):
        load_keras(path)


# ---- what is wrong
def conv(**changes):
    settings = {"filters": 2, "kernel_size": [1, 1]} | changes
    return model(start((3, 3, 2)), layer("Conv2D", "c", "x", **settings))


GOOD = {"conv2d": [np.zeros((1, 1, 2, 2)), np.zeros(2)]}


@pytest.mark.parametrize(
    ("record", "weights", "says"),
    [
        (conv(), {}, r"layer 'c' \(Conv2D\): it has no weights[\s\S]*kernel \(1, 1, 2, 2\)"),
        (conv(filters=3), GOOD, r"layer 'c'[\s\S]*shapes \[\(1, 1, 2, 2\), \(2,\)\]"),
        (conv(groups=0), GOOD, "0 groups"),
        (conv(kernel_size="big"), GOOD, "kernel_size is big"),
        (conv(kernel_size=[1 << 20, 1 << 20]), GOOD, "stored weights have"),
        (conv(padding="odd"), GOOD, "padding is odd"),
        (conv(activation="wonder"), GOOD, r"layer 'c': Conv2D, activation 'wonder'"),
        (model(start((3,)), layer("ReLU", "y", "nobody")), {}, "reads 'nobody'"),
        (model(start((3,)), layer("ReLU", "y", "y")), {}, "reads itself"),
        (model(start((3,)), layer("ReLU", "y", ("x", 4))), {}, "no result 4"),
        (model(start((3,)), start((3,))), {}, "two layers are called 'x'"),
        (model(start((3,)), layer("ReLU", "y", "x"), inputs=["y"]), {}, "no input layer"),
        (model(start((1 << 30, 1 << 30)), layer("ReLU", "y", "x")), {}, "absurd shape"),
        (
            model(start((3,)), layer("Reshape", "y", "x", target_shape=[5])),
            {},
            r"layer 'y' \(Reshape\): 3 elements",
        ),
        (
            model(start((3,)), layer("Embedding", "y", "x", input_dim=2, output_dim=2)),
            {},
            "no weights",
        ),
        ({"class_name": "Mine", "config": {}}, {}, r"class 'Mine'[\s\S]*subclassed"),
        ({"class_name": "Sequential", "config": {"layers": []}}, {}, "no layers"),
        (model(layer("InputLayer", "x")), {}, "open: None|no size|are open"),
    ],
)
def test_models_that_are_not_valid_are_named(tmp_path, record, weights, says):
    path = archive(tmp_path, record, weights)
    with pytest.raises(ModelImportError, match=says) as error:
        load_keras(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"PK\x03\x04 and so on", b"\x89HDF\r\n\x1a\n and so on"]
)
@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_other_contents_are_refused_by_file(tmp_path, content, suffix):
    path = tmp_path / f"net.{suffix}"
    path.write_bytes(content)
    with pytest.raises(ModelImportError, match=r"net\."):
        npusim.load_model(path)


def test_files_with_weights_only_say_how_to_save_the_model(tmp_path):
    path = tmp_path / "net.weights.h5"
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = np.array(["a"], dtype="S")
    with pytest.raises(ModelImportError, match=r"weights only[\s\S]*model\.save"):
        load_keras(path)


def test_an_archive_that_grows_without_end_is_not_unpacked(tmp_path):
    path = archive(tmp_path, model(start((3,)), layer("ReLU", "y", "x")))
    with zipfile.ZipFile(path) as packed:
        config = packed.read("config.json")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("config.json", config)
        packed.writestr("model.weights.h5", b"")
    content = bytearray(path.read_bytes())
    place = content.index(b"PK\x01\x02", content.rindex(b"config.json") + 1)
    content[place + 24 : place + 28] = (1 << 31).to_bytes(4, "little")
    path.write_bytes(bytes(content))
    with pytest.raises(ModelImportError, match=r"model.weights.h5 says it has 2147483648 bytes"):
        load_keras(path)


def test_changed_files_are_taken_or_refused_with_the_file(tmp_path):
    rng = random.Random(2)
    cases = [case for case in RECORDS if "models in models" in case.label or "LSTM" in case.label]
    outcomes = {"taken": 0, "refused": 0, "without the file": 0}
    for index in range(120):
        name, content = next(iter(rng.choice(cases).files.items()))
        changed = bytearray(content)
        for _ in range(rng.randint(1, 6)):
            changed[rng.randrange(len(changed))] = rng.randrange(256)
        if index % 3 == 0:
            changed = changed[: rng.randrange(len(changed))]
        path = tmp_path / name
        path.write_bytes(bytes(changed))
        try:
            load_keras(path)
            outcomes["taken"] += 1
        except ModelImportError as error:
            outcomes["refused"] += 1
            outcomes["without the file"] += str(path) not in str(error)
    assert outcomes["refused"] > 20
    assert outcomes["without the file"] == 0


def test_changed_descriptions_are_taken_or_refused(tmp_path):
    rng = random.Random(3)
    record = json.dumps(conv(strides=[1, 1], dilation_rate=[1, 1], groups=1, activation="relu"))
    words = ['"c"', "1", "2", "3", "null", '"x"', "[1, 1]", '"relu"', "0", '"Conv2D"', "filters"]
    outcomes = {"taken": 0, "refused": 0}
    for _ in range(250):
        text = record
        for _ in range(rng.randint(1, 3)):
            old, new = rng.sample([*words, "-1", "1e30", "true", "{}", "[]", '"wonder"'], 2)
            places = text.split(old)
            if len(places) > 1:
                at = rng.randrange(1, len(places))
                text = old.join(places[:at]) + new + old.join(places[at:])
        try:
            changed = json.loads(text)
        except ValueError:
            continue
        path = archive(tmp_path, changed, GOOD)
        try:
            load_keras(path)
            outcomes["taken"] += 1
        except ModelImportError:
            outcomes["refused"] += 1
    assert outcomes["refused"] > 50
    assert outcomes["taken"] > 10


# ---- files that the HDF5 library reads first, in a process of its own
def flat(folder, name="net.h5"):
    return hdf5(folder, model(start((3,)), layer("Flatten", "f", "x")), name=name)


def test_the_library_may_not_come_back(tmp_path, monkeypatch):
    path = flat(tmp_path)
    code = "tests.foreign.fake_runtime"
    fake = keras_file.HDF5._replace(module="json", code=code, seconds=0.5)
    monkeypatch.setattr(keras_file, "HDF5", fake)
    with pytest.raises(NpusimError, match=r"HDF5 library has not answered for 0\.5 s") as caught:
        npusim.load_model(path)
    assert caught.value.where == str(path)
    assert "copy or save it again" in str(caught.value)
    monkeypatch.undo()
    assert npusim.load_model(path).outputs  # a new process reads it


def link(file, folder):
    file["model_weights/f"] = h5py.ExternalLink("other.h5", "/")


def outer(file, folder):
    place = [(os.fspath(folder / "array"), 0, 12)]
    file.create_dataset("model_weights/f/k", (3,), np.float32, external=place)


def virtual(file, folder):
    layout = h5py.VirtualLayout((3,), np.float32)
    layout[:] = h5py.VirtualSource("other.h5", "k", (3,))
    file.create_virtual_dataset("model_weights/f/k", layout)


@pytest.mark.parametrize("add", [link, outer, virtual])
def test_keras_files_lead_to_no_other_file(tmp_path, add):
    path = flat(tmp_path)
    with h5py.File(path, "r+") as file:
        add(file, tmp_path)
    with pytest.raises(ModelImportError, match=r"'/model_weights/f(/k)?' leads to another file"):
        npusim.load_model(path)
    packed = archive(tmp_path, model(start((3,)), layer("Flatten", "f", "x")))
    with zipfile.ZipFile(packed, "a") as file:
        parts = {name: file.read(name) for name in file.namelist()}
    with zipfile.ZipFile(packed, "w") as file:
        for name, content in (parts | {"model.weights.h5": path.read_bytes()}).items():
            file.writestr(name, content)
    with pytest.raises(ModelImportError, match="leads to another file"):
        npusim.load_model(packed)


def test_what_refers_to_itself_or_is_damaged_is_walked_once(tmp_path):
    path = flat(tmp_path)
    with h5py.File(path, "r+") as file:
        file["model_weights/again"] = file["model_weights"]
        file["gone"] = h5py.SoftLink("/nowhere")
        file.create_dataset("packed", data=np.zeros((50, 50)), compression="gzip")
        file.create_dataset("large", (1 << 20, 1 << 20), np.float32, chunks=(64, 64))
    assert npusim.load_model(path).outputs
    for content in (b"", path.read_bytes(), b"no file"):
        assert with_h5py.walked(os.fsencode(path), content, 1 << 28) == ""


@pytest.mark.parametrize("error", [MemoryError(), OSError("memory allocation failed for text")])
def test_attributes_without_end_are_refused(error):
    class Attributes(dict):
        def __getitem__(self, name):
            raise error

    found = SimpleNamespace(attrs=Attributes(keras_version=0), name="/model_weights")
    with pytest.raises(Refused, match="'keras_version' of '/model_weights' takes more memory"):
        with_h5py._read_attributes(found)

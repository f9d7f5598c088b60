"""What was loaded is a value: files that are written while or after they are read."""

import hashlib
import os
import pickle
import tempfile
from dataclasses import replace
from pathlib import Path
from threading import Event

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import npusim
from npusim.errors import ModelImportError, NpusimError
from npusim.importers.caffe.weights_file import read_weights
from npusim.importers.common import two_files
from npusim.importers.common.stretch import FileBytes, read_numbers
from npusim.importers.common.two_files import Fingerprint, LaterFingerprint
from npusim.importers.darknet.weights_file import open_weights
from npusim.importers.mxnet.params import read_params
from npusim.importers.tensorflow.file import read_graph
from npusim.ir import archive
from npusim.ir.codec import decode, encode
from npusim.ir.graph import Source
from npusim.testing import GraphBuilder
from tests.importers.caffe_build import weights
from tests.importers.mxnet_build import params
from tests.importers.tensorflow_build import Net

LARGE = np.arange(6000, dtype=np.float32)


def own_file(tmp_path):
    net = GraphBuilder()
    net.conv(net.input("x", 1, 40, 3, 3), 4)
    path = tmp_path / "net.rknn"
    npusim.save(net.done(), path)
    return path


@pytest.mark.parametrize("content", [b"", b"\xff"], ids=["emptied", "overwritten"])
def test_a_model_file_written_in_place_changes_nothing_that_was_loaded(tmp_path, content):
    path = own_file(tmp_path)
    graph = npusim.load_model(path)
    before = {name: value.copy() for name, value in graph.constants.items()}
    with path.open("r+b") as file:
        file.truncate(0)
        file.write(content * 4096)
    assert before
    assert all(np.array_equal(graph.constants[n], v) for n, v in before.items())
    assert all(not value.flags.writeable for value in graph.constants.values())


def test_every_bit_of_a_small_model_file_counts(tmp_path):
    net = GraphBuilder()
    net.node("relu", [net.input("x", 1, 3)])
    path = tmp_path / "net.rknn"
    npusim.save(net.done(), path)
    whole = path.read_bytes()
    for place in range(len(whole)):
        for bit in range(8):
            changed = bytearray(whole)
            changed[place] ^= 1 << bit
            path.write_bytes(changed)
            with pytest.raises(NpusimError):
                archive.load(path)


def caffe(path):
    path.write_bytes(weights({"l": [LARGE]}))
    file = read_weights(path)
    return lambda: file.read(file.layers["l"][0]), file.fingerprint.hexdigest


def mxnet(path):
    path.write_bytes(params({"arg:l": LARGE}))
    file = read_params(path)
    return lambda: file.value("l"), file.fingerprint.hexdigest


def tensorflow(path):
    net = Net()
    net.const("w", LARGE)
    net.save(path.parent, path.name)
    file = read_graph(path)
    return lambda: file.nodes[0].tensor.value("w", "here"), file.fingerprint.hexdigest


def darknet(path):
    path.write_bytes(np.array([0, 1, 0, 0], "<i4").tobytes() + LARGE.tobytes())

    def take():
        numbers.offset, numbers.wanted = 16, 0
        return numbers.take(LARGE.shape, "weights", "l", fill=0)

    numbers = open_weights(path)
    return take, lambda: numbers.fingerprint.finish()()


@pytest.mark.parametrize("framework", [caffe, darknet, mxnet, tensorflow])
def test_weights_that_are_written_while_they_are_read_are_refused(tmp_path, framework):
    path = tmp_path / "file"
    value, _ = framework(path)
    assert np.array_equal(value(), LARGE)
    again, digest = framework(path)
    assert len(digest()) == 64
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.truncate(size // 2)
    with pytest.raises(ModelImportError, match="changed while it was being read"):
        again()
    with pytest.raises(ModelImportError, match="changed while it was being read"):
        digest()


@given(st.lists(st.tuples(st.integers(0, 70), st.integers(1, 40)), max_size=6))
def test_a_fingerprint_does_not_depend_on_who_read_what(reads):
    content = np.random.default_rng(1).integers(0, 256, 75, np.uint8)
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(two_files, "_WINDOW_BYTES", 16)
        path = Path(folder, "file")
        path.write_bytes(content.tobytes())
        digest = LaterFingerprint(path)
        for begin, count in reads:
            digest.add(begin, content[begin : begin + count].copy())
        assert digest.finish()() == hashlib.sha256(content.tobytes()).hexdigest()


def test_numbers_that_are_being_hashed_cannot_be_written(tmp_path):
    take, _ = darknet(tmp_path / "file")
    with pytest.raises(ValueError, match="read-only"):
        take()[0] = 1


@pytest.mark.parametrize("kind", [Fingerprint, LaterFingerprint])
def test_a_file_written_at_the_same_length_is_refused(tmp_path, kind):
    path = tmp_path / "file"
    path.write_bytes(bytes(100))
    fingerprint = kind(path)
    with path.open("r+b") as file:
        file.write(b"x")
    stat = path.stat()
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    with pytest.raises(ModelImportError, match="changed"):
        getattr(fingerprint, "finish" if kind is LaterFingerprint else "hexdigest")()


def darknet_model(folder, filters):
    cfg, numbers = folder / "net.cfg", np.arange(filters * 10, dtype="<f4")
    cfg.write_text(
        f"[net]\nchannels=1\nheight=9\nwidth=9\n[convolutional]\nfilters={filters}\nsize=3\n"
    )
    (folder / "net.weights").write_bytes(
        np.array([0, 1, 0, 0], "<i4").tobytes() + numbers.tobytes()
    )
    return cfg


def test_a_source_whose_hash_is_not_there_yet_is_the_same_source(tmp_path):
    cfg = darknet_model(tmp_path, 4)
    loaded = [npusim.load_model(cfg).source for _ in range(5)]
    assert all(callable(vars(source)["sha256"]) for source in loaded)
    whole = loaded[4]
    assert len(whole.sha256) == 64
    assert pickle.loads(pickle.dumps(loaded[0])) == whole
    assert replace(loaded[1], detail="") == replace(whole, detail="")
    assert decode(Source, encode(loaded[2])) == whole
    assert loaded[3].sha256 == whole.sha256


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_process_does_not_wait_for_the_threads_of_its_parent(tmp_path, monkeypatch):
    cfg = darknet_model(tmp_path, 4)
    expected = npusim.load_model(cfg).source.sha256
    parent, go, compute = os.getpid(), Event(), LaterFingerprint._compute

    def held(self):
        if os.getpid() == parent:
            go.wait()
        compute(self)

    monkeypatch.setattr(LaterFingerprint, "_compute", held)
    source = npusim.load_model(cfg).source
    child = os.fork()
    if child == 0:
        os._exit(source.sha256 != expected)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    go.set()
    assert source.sha256 == expected


def test_stretches_are_the_bytes_of_the_file(tmp_path):
    path = tmp_path / "file"
    content = np.random.default_rng(0).integers(0, 256, 300_000, np.uint8).tobytes()
    path.write_bytes(content)
    data = FileBytes(path)
    assert len(data) == len(content)
    for begin, end in ((0, 8), (65_530, 65_550), (3, 299_999), (299_990, 300_000), (7, 7)):
        assert data.byte(min(begin, len(content) - 1)) == content[min(begin, len(content) - 1)]
        assert data.stretch(begin, end) == content[begin:end]
    assert read_numbers(path, 4, 2, np.dtype("<u4")).tobytes() == content[4:12]

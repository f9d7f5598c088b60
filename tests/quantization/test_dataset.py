"""The calibration list: grammar, checks before work, preprocessing, streaming."""

import logging

import numpy as np
import pytest
from PIL import Image

from npusim.environment import thread_count
from npusim.errors import DatasetError
from npusim.ir.attrs import NO_ATTRS
from npusim.ir.dtypes import DType
from npusim.ir.graph import Preprocess
from npusim.ir.quant import Affine
from npusim.ir.tensor import TensorSpec
from npusim.quantization.calibrate import calibrate
from npusim.quantization.dataset import load_sample, open_dataset
from npusim.quantization.images import read_image, stretch
from npusim.testing import GraphBuilder


def model(*shapes, **preprocess):
    b = GraphBuilder()
    for i, shape in enumerate(shapes):
        b.input(f"in{i}", *shape)
        b.node("relu", [f"in{i}"], f"out{i}", NO_ATTRS)
    graph = b.done(*(f"out{i}" for i in range(len(shapes))))
    graph.preprocess = preprocess
    return graph


RGB = (1, 3, 4, 6)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    work = tmp_path / "elsewhere"
    work.mkdir()
    monkeypatch.chdir(work)
    return tmp_path


def image(path, height=4, width=6, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return pixels


def listing(folder, text):
    path = folder / "dataset.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def samples(path, graph, **options):
    return list(open_dataset(path, graph, **options))


def refusal(path, graph):
    with pytest.raises(DatasetError) as caught:
        samples(path, graph)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_images_become_nchw_float32_in_red_green_blue_order(folder):
    pixels = image(folder / "a.png")
    ((label, feeds),) = samples(listing(folder, "a.png\n"), model(RGB))
    assert label == "dataset.txt:1 a.png"
    assert feeds["in0"].dtype == np.float32
    np.testing.assert_array_equal(feeds["in0"], pixels.transpose(2, 0, 1)[None])


@pytest.mark.parametrize("suffix", ["png", "bmp", "PNG", "jpg", "JPEG", "Jpg"])
def test_suffixes_in_any_letter_case(folder, suffix):
    image(folder / f"a.{suffix}")
    assert len(samples(listing(folder, f"a.{suffix}"), model(RGB))) == 1


def test_grammar_crlf_bom_blank_lines_quotes(folder, caplog):
    image(folder / "a.png")
    image(folder / "b c.png")
    path = listing(folder, b'\xef\xbb\xbfa.png\r\n\r\n  \r\n"b c.png"\r\n\ta.png  \r\n')
    labels = [label for label, _ in samples(path, model(RGB))]
    assert labels == ["dataset.txt:1 a.png", "dataset.txt:4 b c.png", "dataset.txt:5 a.png"]
    assert "2 blank lines" in caplog.text


def test_hash_is_no_comment(folder):
    image(folder / "#a.png")
    assert len(samples(listing(folder, "#a.png"), model(RGB))) == 1


def test_list_folder_comes_before_working_directory(folder):
    beside = image(folder / "a.png", seed=1)
    image(folder / "elsewhere" / "a.png", seed=2)
    here = image(folder / "elsewhere" / "b.png", seed=3)
    found = samples(listing(folder, "a.png\nb.png\n"), model(RGB))
    np.testing.assert_array_equal(found[0][1]["in0"][0].transpose(1, 2, 0), beside)
    np.testing.assert_array_equal(found[1][1]["in0"][0].transpose(1, 2, 0), here)


def test_case_B5_one_column_per_input(folder):
    image(folder / "a.png")
    np.save(folder / "b.npy", np.arange(5, dtype=np.uint8))
    np.save(folder / "c.npy", np.arange(2 * 3 * 7, dtype=np.float64).reshape(2, 3, 7))
    graph = model(RGB, (1, 5), (1, 7, 2, 3))
    ((label, feeds),) = samples(listing(folder, "a.png b.npy\tc.npy"), graph)
    assert label == "dataset.txt:1 a.png b.npy c.npy"
    assert feeds["in1"].tolist() == [[0, 1, 2, 3, 4]]
    np.testing.assert_array_equal(
        feeds["in2"], np.arange(42, dtype=np.float32).reshape(1, 2, 3, 7).transpose(0, 3, 1, 2)
    )


def test_wrong_column_counts_name_line_expected_and_found(folder):
    image(folder / "a.png")
    text = refusal(listing(folder, "a.png a.png\na.png\n\na.png a.png a.png\n"), model(RGB, RGB))
    assert "dataset.txt:2: 1 column, 2 expected" in text
    assert "dataset.txt:4: 3 columns, 2 expected" in text
    assert "dataset.txt:1" not in text
    assert "'in0' (1, 3, 4, 6), 'in1' (1, 3, 4, 6)" in text


def test_case_B3_reorder_then_mean_then_std(folder):
    Image.fromarray(np.full((4, 6, 3), (10, 20, 30), np.uint8)).save(folder / "a.png")
    how = Preprocess(reorder=(2, 1, 0), mean=(1, 2, 3), std=(2, 4, 8))
    ((_, feeds),) = samples(listing(folder, "a.png"), model(RGB, in0=how))
    assert feeds["in0"][0, :, 0, 0].tolist() == [(30 - 1) / 2, (20 - 2) / 4, (10 - 3) / 8]


@pytest.mark.parametrize(
    ("how", "warned"),
    [
        (Preprocess(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)), True),
        (Preprocess(mean=(0.5, 0.5, 0.5)), True),
        (Preprocess(std=(0.5, 0.5, 0.5)), True),
        (Preprocess(mean=(0, 0, 0), std=(255, 255, 255)), False),
        (Preprocess(mean=(0, 0, 0), std=(1, 1, 1)), False),
        (Preprocess(mean=(123.7, 116.3, 103.5), std=(58.4, 57.1, 57.4)), False),
    ],
)
def test_case_B4_mean_and_std_on_the_0_to_1_scale(folder, caplog, how, warned):
    image(folder / "a.png")
    samples(listing(folder, "a.png\na.png\n"), model(RGB, in0=how))
    assert caplog.text.count("multiply mean and std by 255") == int(warned)


def test_case_B4_no_warning_when_samples_are_on_that_scale(folder, caplog):
    np.save(folder / "a.npy", np.linspace(0, 1, 72, dtype=np.float32).reshape(4, 6, 3))
    samples(listing(folder, "a.npy"), model(RGB, in0=Preprocess(mean=(0.5,) * 3, std=(0.5,) * 3)))
    assert not caplog.records


def test_case_B6_transposed_npy_says_which_layout_is_needed(folder):
    np.save(folder / "a.npy", np.zeros((3, 4, 6), np.float32))
    np.save(folder / "b.npy", np.zeros((1, 3, 4, 6), np.float32))
    text = refusal(listing(folder, "a.npy\nb.npy"), model(RGB))
    assert "dataset.txt:1: a.npy: array of shape (3, 4, 6) is in NCHW order" in text
    assert "transpose it to (4, 6, 3)" in text
    assert "transpose it to (1, 4, 6, 3)" in text


def test_npy_of_another_size_is_no_image(folder):
    np.save(folder / "a.npy", np.zeros((8, 12, 3), np.uint8))
    text = refusal(listing(folder, "a.npy"), model(RGB))
    assert "(8, 12, 3)" in text
    assert "(1, 4, 6, 3) or (4, 6, 3)" in text


@pytest.mark.parametrize("shape", [(4, 6, 3), (1, 4, 6, 3)])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "int64", "float16", "float32", "float64"])
def test_npy_shapes_and_numeric_types(folder, shape, dtype):
    data = np.arange(72).reshape(shape).astype(dtype)
    np.save(folder / "a.npy", data)
    ((_, feeds),) = samples(listing(folder, "a.npy"), model(RGB))
    np.testing.assert_array_equal(feeds["in0"], data.reshape(1, 4, 6, 3).transpose(0, 3, 1, 2))


def test_case_B7_images_are_stretched_with_a_warning_on_strong_change(folder, caplog):
    pixels = image(folder / "wide.jpg", 48, 640)
    image(folder / "near.png", 40, 62)
    graph = model((1, 3, 22, 33))
    path = listing(folder, "near.png\nwide.jpg\nwide.jpg\n")
    found = samples(path, graph)
    assert all(feeds["in0"].shape == (1, 3, 22, 33) for _, feeds in found)
    assert "2 images change their proportions" in caplog.text
    assert "dataset.txt:2: 640x48 to 33x22" in caplog.text
    decoded, _ = read_image(folder / "wide.jpg", 3)
    assert decoded.shape == pixels.shape
    np.testing.assert_array_equal(
        found[1][1]["in0"][0].transpose(1, 2, 0), stretch(decoded, 22, 33)
    )


def test_case_B8_all_samples_are_used_and_the_limit_counts_good_ones(folder):
    image(folder / "a.png")
    (folder / "bad.png").write_bytes((folder / "a.png").read_bytes()[:60])
    path = listing(folder, "a.png\nbad.png\n" + "a.png\n" * 6)
    assert len(samples(path, model(RGB))) == 7
    assert len(samples(path, model(RGB), limit=3)) == 3
    assert [label for label, _ in samples(path, model(RGB), limit=2)][1] == "dataset.txt:3 a.png"


def test_case_B9_samples_are_read_a_few_at_a_time(folder):
    count = thread_count() + 4
    for i in range(count):
        image(folder / f"{i}.png", seed=i)
    names = [f"{i}.png" for i in range(count)]
    stream = iter(open_dataset(listing(folder, "\n".join(names)), model(RGB)))
    found = [next(stream)[0], next(stream)[0]]
    (folder / names[-1]).unlink()  # not read yet
    found += [label for label, _ in stream]
    assert found == [f"dataset.txt:{i + 1} {name}" for i, name in enumerate(names[:-1])]


def test_case_B11_wrong_paths_are_reported_at_once(folder):
    path = listing(folder, "".join(f"none/{i}.jpg\n" for i in range(2000)))
    text = refusal(path, model(RGB))
    assert "none of the 2000 samples" in text
    assert "dataset.txt:1: none/0.jpg does not exist; looked in" in text
    assert str(folder / "none") in text
    assert str(folder / "elsewhere" / "none") in text
    assert "and 1990 more" in text


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "the list is empty"),
        (b"\n \n\r\n", "only 3 blank lines"),
        (b"none.jpg\n", "dataset.txt:1: none.jpg does not exist"),
        (b"cut.jpg\n", "dataset.txt:1 cut.jpg: cut.jpg cannot be read"),
        (b"text.jpg\n", "dataset.txt:1: text.jpg cannot be read"),
        (b"a.txt\n", "dataset.txt:1: a.txt has the suffix '.txt'"),
        (b"a\n", "has the suffix 'nothing'"),
        (b"folder.png\n", "folder.png does not exist"),
        (b"cut.npy\n", "cut.npy cannot be read: it is truncated, 8 bytes are missing"),
        (b"zip.npy\n", "zip.npy cannot be read"),
        (b'"open.png\n', "a double quote is not closed"),
        (b"x" * 5000 + b".png", "File name too long"),
        (b"\x89PNG\r\n\x1a\n\xff\xfe", "not UTF-8"),
    ],
)
def test_case_1_11_lists_without_a_usable_sample(folder, content, says):
    image(folder / "whole.jpg", 64, 64)
    data = (folder / "whole.jpg").read_bytes()
    (folder / "cut.jpg").write_bytes(data[: len(data) // 2])
    (folder / "text.jpg").write_text("hello")
    (folder / "a.txt").write_text("hello")
    (folder / "folder.png").mkdir()
    np.save(folder / "x.npy", np.zeros((4, 6, 3), np.uint8))
    (folder / "cut.npy").write_bytes((folder / "x.npy").read_bytes()[:-8])
    np.savez(folder / "zip.npz", np.zeros(3))
    (folder / "zip.npz").rename(folder / "zip.npy")
    assert says in refusal(listing(folder, content), model(RGB))


def test_missing_list_and_folder(folder):
    assert "does not exist" in refusal(folder / "none.txt", model(RGB))
    assert "cannot be read" in refusal(folder, model(RGB))


def test_case_1_11_good_and_bad_lines_mixed(folder, caplog):
    image(folder / "a.png")
    (folder / "text.jpg").write_text("hello")
    found = samples(listing(folder, "a.png\ntext.jpg\nnone.png\na.png\n"), model(RGB))
    assert [label for label, _ in found] == ["dataset.txt:1 a.png", "dataset.txt:4 a.png"]
    assert "dataset.txt:2: text.jpg cannot be read" in caplog.text
    assert "dataset.txt:3: none.png does not exist" in caplog.text
    assert {record.levelno for record in caplog.records} == {logging.WARNING}
    assert {record.name for record in caplog.records} == {"npusim"}


def test_many_bad_lines_are_summed_up(folder, caplog):
    image(folder / "a.png")
    samples(listing(folder, "a.png\n" + "none.png\n" * 500), model(RGB))
    assert len(caplog.records) == 11
    assert "490 more lines are left out" in caplog.text


def test_case_1_19_object_arrays_are_refused_without_unpickling(folder):
    marker = folder / "unpickled"

    class Trap:
        def __reduce__(self):
            return (marker.touch, ())

    np.save(folder / "a.npy", np.array([Trap()], dtype=object), allow_pickle=True)
    image(folder / "b.png")
    text = refusal(listing(folder, "b.png\na.npy\n"), model(RGB))
    assert "dataset.txt:2: a.npy holds Python objects" in text
    assert not marker.exists()


@pytest.mark.parametrize("dtype", ["complex64", "U4", "datetime64[s]", [("x", "f4")]])
def test_npy_without_numbers(folder, dtype):
    np.save(folder / "a.npy", np.zeros((4, 6, 3), dtype))
    assert "dataset.txt:1: a.npy holds" in refusal(listing(folder, "a.npy"), model(RGB))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_in_a_sample_names_the_line(folder, value):
    image(folder / "b.png")
    np.save(folder / "a.npy", np.full((4, 6, 3), value, np.float32))
    with pytest.raises(DatasetError, match=r"dataset.txt:2 a.npy \(input 'in0'\).*NaN"):
        samples(listing(folder, "b.png\na.npy"), model(RGB))


def test_image_for_an_input_that_is_none(folder):
    image(folder / "a.png")
    for shape in ((1, 10), (1, 5, 4, 6), (2, 3, 4, 6)):
        text = refusal(listing(folder, "a.png"), model(shape))
        assert f"dataset.txt:1: a.png: an image cannot fill input 'in0' {shape}" in text


def test_case_B2_npy_of_many_channels(folder):
    data = np.arange(200, dtype=np.float32).reshape(1, 1, 200)
    np.save(folder / "a.npy", data)
    how = Preprocess(mean=tuple(range(200)), std=(2.0,) * 200)
    ((_, feeds),) = samples(listing(folder, "a.npy"), model((1, 200, 1, 1), in0=how))
    assert not feeds["in0"].any()


def test_grey_image_for_a_colour_model_and_reverse_warn_once(folder, caplog):
    Image.fromarray(np.arange(24, dtype=np.uint8).reshape(4, 6)).save(folder / "g.png")
    image(folder / "a.png")
    ((_, feeds), _) = samples(listing(folder, "g.png\ng.png"), model(RGB))
    assert (feeds["in0"][0, 0] == feeds["in0"][0, 2]).all()
    assert caplog.text.count("converted to red, green, blue") == 1
    caplog.clear()
    samples(listing(folder, "a.png\na.png\ng.png"), model((1, 1, 4, 6)))
    assert caplog.text.count("converted to grey") == 1


def test_case_1_2_grey_npy_shapes(folder):
    data = np.arange(24, dtype=np.uint8)
    for shape in ((4, 6), (4, 6, 1), (1, 4, 6, 1)):
        np.save(folder / "a.npy", data.reshape(shape))
        ((_, feeds),) = samples(listing(folder, "a.npy"), model((1, 1, 4, 6)))
        assert feeds["in0"].ravel().tolist() == data.tolist()


def test_integer_inputs_stay_integers(folder):
    graph = model((1, 4))
    graph.tensors["in0"] = TensorSpec(name="in0", shape=(1, 4), dtype=DType.I64)
    np.save(folder / "a.npy", np.array([1, 2, 3, 2**40]))
    ((_, feeds),) = samples(listing(folder, "a.npy"), graph)
    assert feeds["in0"].dtype == np.int64
    assert feeds["in0"].tolist() == [[1, 2, 3, 2**40]]
    np.save(folder / "a.npy", np.array([1, 2, 3, 0.5]))
    with pytest.raises(DatasetError, match=r"dataset.txt:1 a.npy.*not int64"):
        samples(listing(folder, "a.npy"), graph)


def test_channel_settings_that_do_not_fit_name_the_line(folder):
    image(folder / "a.png")
    graph = model(RGB, in0=Preprocess(mean=(1, 2)))
    with pytest.raises(DatasetError, match=r"dataset\.txt:1 a\.png"):
        samples(listing(folder, "a.png"), graph)


def test_case_B10_ranges_are_the_union_over_samples_in_any_order(folder):
    for i in range(5):
        np.save(folder / f"{i}.npy", np.full((4, 6, 3), i - 2, np.float32))
    graph = model(RGB)
    forward = calibrate(graph, open_dataset(listing(folder, "0.npy\n1.npy\n4.npy"), graph)).ranges
    backward = calibrate(graph, open_dataset(listing(folder, "4.npy\n1.npy\n0.npy"), graph)).ranges
    assert forward == backward == {"in0": (-2.0, 2.0), "out0": (0.0, 2.0)}


def test_decompression_bombs_are_unusable_files(folder, monkeypatch):
    image(folder / "a.png", 40, 60)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert "cannot be read" in refusal(listing(folder, "a.png"), model(RGB))


def test_quantized_models_take_the_same_samples(folder):
    pixels = image(folder / "a.png")
    graph = model(RGB)
    graph.tensors["in0"] = TensorSpec(
        name="in0", shape=RGB, dtype=DType.U8, quant=Affine(scale=2.0, zero_point=3)
    )
    ((_, feeds),) = samples(listing(folder, "a.png"), graph)
    assert feeds["in0"].dtype == np.float32
    np.testing.assert_array_equal(feeds["in0"][0].transpose(1, 2, 0), pixels)


def test_one_sample_from_files(folder):
    pixels = image(folder / "a.png")
    graph = model(RGB, in0=Preprocess(std=(2.0,)))
    feeds = load_sample([folder / "a.png"], graph)
    np.testing.assert_array_equal(feeds["in0"][0].transpose(1, 2, 0), pixels / np.float32(2))
    with pytest.raises(DatasetError, match="2 files are given"):
        load_sample(["a.png", "b.png"], graph)
    with pytest.raises(DatasetError, match=r"none\.png does not exist"):
        load_sample(["none.png"], graph)
    np.save(folder / "a.npy", np.zeros((3, 4, 6)))
    with pytest.raises(DatasetError, match="NCHW order"):
        load_sample([folder / "a.npy"], graph)

"""Files of a project that ``fuzz.py`` starts from: lists, states, chips, dumps, vectors."""

import json
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
Files = dict[str, bytes]
READ_TOGETHER = (
    ("tune.json",),
    ("state.jsonl",),
    ("coco.json", "a.png"),
    ("pairs.txt", "a.xml", "yolo.txt", "a.png"),
    ("labels.txt",),
    ("chip.toml", "layers.json"),
    ("table.csv", "layers.json"),
    ("times.csv", "layers.json"),
)


def _graph() -> Any:
    from npusim.testing import GraphBuilder

    net = GraphBuilder()
    net.conv(net.input("x", 1, 3, 8, 8), 2)
    return net.done()


def _picture(kind: str) -> bytes:
    from PIL import Image

    stream = BytesIO()
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (9, 7, 3), np.uint8)).save(stream, kind)
    return stream.getvalue()


def dataset_seeds() -> Iterator[Files]:
    """Yield lists with an array and pictures, and with one of them each."""
    stream = BytesIO()
    np.save(stream, np.zeros((1, 8, 8, 3), np.float32))
    files = {"a.npy": stream.getvalue()}
    for end, kind in (("png", "PNG"), ("jpg", "JPEG"), ("bmp", "BMP")):
        files[f"a.{end}"] = _picture(kind)
    yield {"list.txt": "\n".join(files).encode(), **files}
    for name, content in files.items():  # a sample of a list that has more may be left out
        yield {"list.txt": name.encode(), name: content}


def load_dataset(folder: Path) -> Any:
    """Read all samples of a list."""
    from npusim.quantization.dataset import open_dataset

    return [label for label, _ in open_dataset(folder / "list.txt", _graph())]


def hybrid_seeds() -> Iterator[Files]:
    """Yield the files of a hybrid quantization."""
    from npusim.quantization.hybrid.files import HybridModel, save_hybrid
    from npusim.quantization.schemes import Scheme

    with TemporaryDirectory() as name:
        folder = Path(name)
        model = HybridModel(source=_graph(), scheme=Scheme.U8, targets=("rk1808",))
        save_hybrid(model, folder / "m.json", folder / "m.data")
        cfg = (
            b"customized_quantize_layers: {Conv_1: dynamic_fixed_point-16}\nquantize_parameters:\n"
        )
        cfg += b"    '@a_1:out0': {dtype: asymmetric_affine, max_value: [1.5], zero_point: [3]}\n"
        found = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
        yield {**found, "m.cfg": cfg}


def load_hybrid_files(folder: Path) -> Any:
    """Read a cfg and both files."""
    from npusim.errors import NpusimError
    from npusim.quantization.hybrid.files import load_hybrid
    from npusim.quantization.hybrid.yaml_lines import read_yaml

    try:
        read_yaml(folder / "m.cfg").mapping("the file")
    except NpusimError:
        return load_hybrid(folder / "m.json", folder / "m.data")
    return load_hybrid(folder / "m.json", folder / "m.data")


def project_seeds() -> Iterator[Files]:
    """Yield states, layer lists, chips, annotations, tables and labels, each with what it needs."""
    point = {"scheme": "i16", "layers": ["l"], "metric": 1.0, "time_us": 2.0, "parts": {"p": 1.0}}
    tune = {"kind": "npusim tune", "version": 1, "job": {"model": "a"}, "points": [point]}
    head = {"format": "npusim evaluate 1", "fingerprint": "f"}
    run = {"top": [0, 1], "score": 0.5, "rank": 0}
    record = {"index": 0, "image": "a", "label": "1", "runs": {"float": run, "u8": run}}
    box = {"image_id": 1, "category_id": 2, "bbox": [1, 1, 4, 4], "iscrowd": 0}
    coco = {
        "images": [{"file_name": "a.png", "id": 1, "height": 9, "width": 7}],
        "annotations": [box],
        "categories": [{"id": 2, "name": "cat"}],
    }
    voc = b"<annotation><object><name>cat</name><bndbox><xmin>1</xmin><ymin>2</ymin>"
    voc += b"<xmax>5</xmax><ymax>6</ymax></bndbox></object></annotation>"
    chip = (ROOT / "perfmodel/machines/rk1808.toml").read_bytes()
    files = {
        "tune.json": json.dumps(tune).encode(),
        "state.jsonl": b"\n".join(json.dumps(line).encode() for line in (head, record)) + b"\n",
        "coco.json": json.dumps(coco).encode(),
        "a.xml": voc,
        "yolo.txt": b"0 0.5 0.5 0.2 0.2\n",
        "a.png": _picture("PNG"),
        "layers.json": (ROOT / "npusim/assets/example_layers.json").read_bytes(),
        "chip.toml": chip,
        "labels.txt": b"cat\ndog\n",
        "pairs.txt": b"a.png a.xml\n",
        "times.csv": b"network,target,dtype,clock_mhz,ms,trust\n"
        b"layers.json,rk1808,u8,800,24.5,high\nlayers.json,rk1808,i16,700,90,low\n",
        "table.csv": b"network,target,dtype,clock_mhz,ms\nlayers.json,rk1808,u8,800,12.5\n",
    }
    for group in READ_TOGETHER:
        yield {name: files[name] for name in group}


def load_project(folder: Path) -> Any:
    """Read what is there; the last fault counts."""
    from npusim.errors import NpusimError
    from npusim.evaluation import annotations, labelled, state, stored_records
    from npusim.perfmodel.agreement import table_errors
    from npusim.perfmodel.estimate import estimate
    from npusim.perfmodel.layer_list import load_layer_list
    from npusim.perfmodel.machine import load_machine
    from npusim.perfmodel.owner import calibrate, machine_text
    from npusim.tuning.state import State

    def evaluated() -> None:
        def check(record: Any) -> None:
            stored_records.check_record(record, "classification", ("float", "u8"), 1)

        state.State(folder / "state.jsonl", "f", check).close()

    def priced() -> None:
        machine = load_machine(folder / "chip.toml")
        estimate(load_layer_list(folder / "layers.json"), machine)

    def calibrated() -> None:
        found = calibrate(load_machine("rk1808"), folder / "times.csv")
        (folder / "mine.toml").write_text(machine_text(found, "rk1808"))
        assert load_machine(folder / "mine.toml").name == "rk1808"

    readers: dict[str, Callable[[], Any]] = {
        "tune.json": lambda: State(folder / "tune.json", {"model": "a"}).load(),
        "state.jsonl": evaluated,
        "coco.json": lambda: annotations.open_boxes(folder / "coco.json"),
        "pairs.txt": lambda: annotations.open_boxes(folder / "pairs.txt", labels=("cat",)),
        "labels.txt": lambda: labelled.read_labels(folder / "labels.txt"),
        "chip.toml": priced,
        "times.csv": calibrated,
        "table.csv": lambda: table_errors(folder / "table.csv"),
    }
    refused: NpusimError | None = None
    for name, read in readers.items():
        if (folder / name).exists():
            try:
                read()
            except NpusimError as error:
                refused = error
    if refused is not None:
        raise refused


def dump_seeds() -> Iterator[Files]:
    """Yield a layer dump with its index and without."""
    import npusim
    from npusim.analysis.dump import INDEX_NAME, LayerDump

    with TemporaryDirectory() as folder:
        program = npusim.compile(npusim.float16(_graph()))
        with LayerDump(program, folder) as dump:
            program.run({"x": np.zeros((1, 3, 8, 8), np.float32)}, observe=dump.observe)
            dump.close()
        files = {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir())}
        yield files
        yield {name: content for name, content in files.items() if name != INDEX_NAME}


def load_dump(folder: Path) -> Any:
    """Read all layers of a dump."""
    from npusim.analysis.dump_files import dump_files

    return [file.values() for file in dump_files(folder)]


def load_golden(folder: Path) -> Any:
    """Read recorded vectors."""
    from npusim.conformance.golden import read_golden

    return list(read_golden(folder / "golden.npz"))


def replayed(folder: Path, cases: Any) -> str:
    """Run recorded vectors: what they say of themselves must not end the process."""
    from npusim.conformance.replay import replay

    replay(folder / "golden.npz")
    return ""

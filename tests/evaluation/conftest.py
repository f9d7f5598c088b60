"""A tiny classifier, a labelled set of npy files, and a task that kills its process once."""

import numpy as np
import pytest

import npusim
from npusim.evaluation.labelled import open_labelled
from npusim.evaluation.worker import FLOAT, Job
from npusim.ir.attrs import AxisAttrs, Conv2dAttrs, PoolKind, ReshapeAttrs
from npusim.ir.attrs import GlobalPoolAttrs as PoolAttrs
from npusim.passes.pipeline import lower
from npusim.testing import GraphBuilder

CLASSES = 6


def classifier():
    """Return a network whose class is the channel with the largest mean."""
    b = GraphBuilder()
    b.input("x", 1, CLASSES, 4, 4)
    weights = 6 * np.eye(CLASSES).reshape(CLASSES, CLASSES, 1, 1)
    inputs = ["x", b.constant("w", weights), b.constant("b", np.zeros(CLASSES))]
    b.node("conv2d", inputs, "c", Conv2dAttrs())
    b.node("global_pool", ["c"], "p", PoolAttrs(kind=PoolKind.AVG))
    b.node("reshape", ["p"], "f", ReshapeAttrs(shape=(1, CLASSES)))
    b.node("softmax", ["f"], "y", AxisAttrs(axis=1))
    return b.done("y")


@pytest.fixture(scope="session")
def graphs():
    graph = classifier()
    rng = np.random.default_rng(0)
    samples = [
        (str(i), {"x": rng.uniform(0, 1, (1, CLASSES, 4, 4)).astype(np.float32)}) for i in range(3)
    ]
    return {FLOAT: graph, "u8": lower(npusim.quantize(graph, samples))}


@pytest.fixture
def labelled(tmp_path):
    """Write a list of samples of which every fifth has a wrong label."""

    def make(count=20, name="set.txt"):
        rng = np.random.default_rng(1)
        lines = []
        for i in range(count):
            label = i % CLASSES
            value = rng.uniform(0, 0.6, (4, 4, CLASSES)).astype(np.float32)
            value[..., label] += 0.3
            np.save(tmp_path / f"s{i}.npy", value)
            lines.append(f"s{i}.npy {(label + (i % 5 == 4)) % CLASSES}\n")
        (tmp_path / name).write_text("".join(lines))
        return open_labelled(tmp_path / name)

    return make


@pytest.fixture
def job(graphs):
    def make(task="classification", **options):
        return Job(graphs=graphs, task=task, **options)

    return make


@pytest.fixture
def killing(tmp_path):
    """Return a task whose function kills its process when it first sees label 3."""

    def make(always=False):
        marker = tmp_path / "killed"
        name = "always_killing_task" if always else "killing_task"  # workers keep what they import
        (tmp_path / f"{name}.py").write_text(
            "import os, pathlib\n"
            "def measure(outputs, label):\n"
            f"    marker = pathlib.Path({str(marker)!r})\n"
            f"    if label == '3' and ({always} or not marker.exists()):\n"
            "        marker.touch()\n"
            "        os.kill(os.getpid(), 9)\n"
            "    return {'largest': outputs[0].max(), 'second': 1}\n"
        )
        return {"task": f"custom:{name}:measure", "search": str(tmp_path)}

    return make

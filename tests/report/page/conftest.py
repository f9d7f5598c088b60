"""A network with one fault: parts of a concat that share a range, and layers behind it."""

import numpy as np
import pytest

import npusim
from npusim.ir.attrs import AxisAttrs, Conv2dAttrs
from npusim.testing import GraphBuilder

RNG = np.random.default_rng(5)
HOSTILE = "</script><img src=x onerror=alert(1)>"


def _conv(b, source, name, weights):
    inputs = [
        source,
        b.constant(f"{name}.w", weights.astype(np.float32)),
        b.constant(f"{name}.b", np.zeros(len(weights), np.float32)),
    ]
    return b.node("conv2d", inputs, name, Conv2dAttrs())


@pytest.fixture(scope="session")
def faulty():
    """Return (float graph, samples): `small` drowns beside `large`, `after` reads mostly it."""
    b = GraphBuilder()
    b.input("x", 1, 4, 8, 8)
    small = _conv(b, "x", "small", np.eye(4).reshape(4, 4, 1, 1) * 0.002)
    large = _conv(b, "x", "large", RNG.normal(size=(4, 4, 1, 1)))
    b.node("concat", [small, large], "joined", AxisAttrs(axis=1))
    weights = np.zeros((4, 8, 1, 1))
    weights[:, :4] = np.eye(4).reshape(4, 4, 1, 1)
    _conv(b, "joined", HOSTILE, weights)
    samples = [("a.png", {"x": RNG.uniform(-1, 1, (1, 4, 8, 8)).astype(np.float32)})]
    return b.done(HOSTILE, "joined"), samples


@pytest.fixture(scope="session")
def made(faulty):
    """Return its report."""
    return npusim.report(*faulty)

"""A layer list under construction."""

from typing import Any

Block = dict[str, Any]


class Blocks:
    """A layer list under construction; every method returns the name of its result."""

    def __init__(self, name: str, *shape: int) -> None:
        self.name, self.shape = name, list(shape)
        self.layers: list[dict[str, Any]] = []

    def layer(self, op: str, *inputs: Any, **keys: Any) -> str:
        """Add a layer."""
        name = f"{op}{len(self.layers)}"
        self.layers.append({"name": name, "op": op, "inputs": list(inputs), **keys})
        return name

    def conv(self, x: str, channels: int, kernel: int = 1, stride: int = 1, **keys: Any) -> str:
        """Add a convolution that keeps the map (or halves it); relu unless said otherwise."""
        keys = {"act": "relu", "pad": [kernel // 2] * 4} | keys
        if keys["act"] is None:
            del keys["act"]
        return self.layer("conv", x, channels=channels, kernel=kernel, stride=stride, **keys)

    def depthwise(self, x: str, kernel: int = 3, stride: int = 1, **keys: Any) -> str:
        """Add a depthwise convolution."""
        keys = {"act": "relu", "pad": [kernel // 2] * 4} | keys
        if keys["act"] is None:
            del keys["act"]
        return self.layer("dwconv", x, kernel=kernel, stride=stride, **keys)

    def maxpool(self, x: str, kernel: int = 2, stride: int = 2, pad: int = 0) -> str:
        """Add a max pool."""
        return self.layer("maxpool", x, kernel=kernel, stride=stride, pad=[pad] * 4)

    def part(self, x: str, start: int, stop: int, axis: int = 1, step: int = 1) -> str:
        """Add a slice."""
        return self.layer("slice", x, start=start, stop=stop, axis=axis, step=step)

    def act(self, x: str, kind: str) -> str:
        """Add an activation."""
        return self.layer("act", x, kind=kind)

    def join(self, *parts: str) -> str:
        """Add a concat of channels."""
        return self.layer("concat", *parts)

    def add(self, a: str, b: str, **keys: Any) -> str:
        """Add a sum."""
        return self.layer("add", a, b, **keys)

    def resize(self, x: str, factor: int = 2, mode: str = "nearest") -> str:
        """Add an enlargement."""
        return self.layer("resize", x, factor=factor, mode=mode)

    def done(self, *outputs: str) -> Block:
        """Return the layer list."""
        return {
            "name": self.name,
            "input": self.shape,
            "outputs": list(outputs) or [self.layers[-1]["name"]],
            "layers": self.layers,
        }

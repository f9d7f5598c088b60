"""Networks whose result is a list or a dictionary: the same network with its tensors side by side.

The exporter takes tuples of tensors only; every traced YOLOv5 returns a list inside of a tuple.
"""

from typing import Any

Named = list[tuple[str, Any]]


def flattened(torch: Any, module: Any, inputs: tuple[Any, ...]) -> tuple[Any, list[str] | None]:
    """Return a module that gives a tuple of tensors, and names of them if dictionaries name any.

    The network runs once on ``inputs`` to see what its result is; one that is a tensor or a tuple
    of tensors comes back as it is.
    """
    with torch.no_grad():
        result = module(*inputs)
    plain = result if isinstance(result, tuple) else (result,)
    if all(isinstance(value, torch.Tensor) for value in plain):
        return module, None
    tensors = _tensors(torch, result, "")

    class Flat(torch.nn.Module):  # type: ignore[misc]
        """The network, and its tensors in order."""

        def __init__(self) -> None:
            super().__init__()
            self.inner = module

        def forward(self, *values: Any) -> tuple[Any, ...]:
            """Return every tensor of the network's result."""
            found = _tensors(torch, self.inner(*values), "")
            return tuple(tensor for _, tensor in found)

    names = [name for name, _ in tensors]
    named = any(not part.isdigit() for name in names for part in name.split("_"))
    # the exporter itself cannot trace through a loaded module, torch.jit can
    traced = torch.jit.trace(Flat().eval(), inputs, check_trace=False)
    return traced, names if named and len(set(names)) == len(names) else None


def _tensors(torch: Any, value: Any, name: str) -> Named:
    """Return the tensors of nested tuples, lists and dictionaries with their places as names."""
    if isinstance(value, torch.Tensor):
        return [(name, value)]
    if isinstance(value, dict):
        items = [(str(key), entry) for key, entry in value.items()]
    elif isinstance(value, list | tuple):
        items = [(str(position), entry) for position, entry in enumerate(value)]
    else:
        return []  # numbers and nothing are no results of a network
    found: Named = []
    for key, entry in items:
        found += _tensors(torch, entry, f"{name}_{key}" if name else key)
    return found

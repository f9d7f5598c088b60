"""Small networks that each spend their time on one constant of a board, as layer lists."""

from block_builder import Block, Blocks


def _start(name: str, size: int, channels: int) -> tuple[Blocks, str]:
    """Return a network and its map of ``size`` pixels, made from an image of twice the size."""
    b = Blocks(name, 1, 3, 2 * size, 2 * size)
    return b, b.conv("data", channels, 3, 2)


def products() -> Block:
    """3x3 convolutions of 256 channels: the NN cores."""
    b, x = _start("products", 28, 256)
    for _ in range(10):
        x = b.conv(x, 256, 3)
    return b.done()


def memory() -> Block:
    """Pointwise convolutions of large maps: the memory rate."""
    b, x = _start("memory", 112, 64)
    for _ in range(10):
        x = b.conv(x, 64)
    return b.done()


def coefficients() -> Block:
    """Pointwise convolutions of many channels on small maps: coefficients from memory."""
    b, x = _start("coefficients", 14, 1024)
    for _ in range(8):
        x = b.conv(x, 1024)
    return b.done()


def passes() -> Block:
    """Table activations: the tensor processor."""
    b, x = _start("passes", 112, 64)
    for _ in range(8):
        x = b.conv(x, 64, act="silu")
    return b.done()


def launches() -> Block:
    """Many tiny convolutions: what an operation costs beside its work."""
    b, x = _start("launches", 14, 32)
    for _ in range(40):
        x = b.conv(x, 32)
    return b.done()


def programs() -> Block:
    """Add parts of maps: the shader core."""
    b, x = _start("programs", 56, 64)
    for _ in range(5):
        x = b.conv(x, 64)
        x = b.add(b.part(x, 0, 32), b.part(x, 32, 64))
        x = b.conv(x, 64)
    return b.done()


def sums() -> Block:
    """Residual blocks: sums of convolutions."""
    b, x = _start("sums", 56, 256)
    for _ in range(6):
        x = b.add(x, b.conv(b.conv(x, 64), 256, act=None), act="relu")
    return b.done()


PROBES = (products, memory, coefficients, passes, launches, programs, sums)

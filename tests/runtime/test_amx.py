"""The path of AMX tiles: when it is offered, what it takes, and that it gives the portable bits.

On a processor without tiles they are emulated, see ``tests.kernels.emulated_tiles``.
"""

import ctypes
import errno
from types import SimpleNamespace

import numpy as np
import pytest

import npusim
from npusim import assets
from npusim.errors import ConfigError
from npusim.ir.dtypes import DType
from npusim.ir.quant import Affine, AffinePerChannel, DynamicFixedPoint, Quant, zero_point_of
from npusim.ir.tensor import TensorSpec
from npusim.kernels.features import AMX_INT8
from npusim.kernels.windows import conv as portable
from npusim.kernels.windows import i16_conv_amx, int8_conv_amx, int8_conv_vnni
from npusim.passes.requant import nn_requant
from npusim.runtime import isa, kernel_table, tile_permission
from npusim.runtime.calls import Calls
from npusim.runtime.convolution import amx, amx_check, amx_words, layout
from npusim.runtime.convolution.phases import Convolution, Phase, plain_phase
from npusim.runtime.convolution.step import bind_to
from tests.kernels import emulated_tiles

needs_avx512 = pytest.mark.skipif(not emulated_tiles.POSSIBLE, reason="the stores are AVX512")
U8 = Affine(scale=0.02, zero_point=3), Affine(scale=0.01, zero_point=77)
U8_MIDDLE = Affine(scale=0.02, zero_point=3), Affine(scale=0.01, zero_point=128)
I8 = DynamicFixedPoint(fl=3), DynamicFixedPoint(fl=5)
I16 = DynamicFixedPoint(fl=10), DynamicFixedPoint(fl=12)
BYTES = int8_conv_amx.conv2d_8bit, portable.conv2d_8bit
WORDS = i16_conv_amx.conv2d_i16, portable.conv2d_i16


@pytest.fixture
def tiles(monkeypatch):
    """Offer the path, on emulated tiles where there are no others."""
    with monkeypatch.context() as patch:
        patch.setenv("NPUSIM_ISA", "amx")
        if emulated_tiles.NEEDED:
            emulated_tiles.emulate(patch)
        emulated_tiles.forget_choices()
        yield
    emulated_tiles.forget_choices()


def convolution(
    in_c,
    out_c,
    kernel=1,
    stride=1,
    pad=0,
    size=(8, 8),
    *,
    dtype=DType.U8,
    quants=U8,
    groups=1,
    images=1,
    dilation=1,
    phases=None,
    ofm_size=None,
) -> Convolution:
    rng = np.random.default_rng(in_c + out_c)
    reach = (kernel - 1) * dilation + 1
    out = ofm_size or tuple((s + 2 * pad - reach) // stride + 1 for s in size)
    spread = (in_c // groups * kernel**2) ** 0.5  # of sums, and so of the codes stored
    ofm_quant: Quant = DynamicFixedPoint(fl=8 - round(np.log2(74 * spread)))
    if dtype is DType.U8:
        ofm_quant = Affine(scale=0.03 * spread, zero_point=99)
    elif dtype is DType.I16:
        ofm_quant = DynamicFixedPoint(fl=22 - round(np.log2(4e4 * spread)))
    ofm = TensorSpec(name="y", shape=(images, out_c, *out), dtype=dtype, quant=ofm_quant)
    around = zero_point_of(quants[1]) if dtype is DType.U8 and isinstance(quants[1], Affine) else 0
    codes = rng.normal(
        around, 50 if dtype.bits == 8 else 20000, (out_c, in_c // groups, kernel, kernel)
    )
    codes = np.rint(codes).clip(dtype.min, dtype.max).astype(dtype.numpy)
    one_scale = U8[1] if isinstance(quants[1], AffinePerChannel) else quants[1]
    steps = (kernel,) * 2, (stride,) * 2, (dilation,) * 2, (pad,) * 2
    return Convolution(
        where="test",
        ifm=TensorSpec(name="x", shape=(images, in_c, *size), dtype=dtype, quant=quants[0]),
        ofm=ofm,
        weights=codes,
        weights_quant=quants[1],
        bias=rng.integers(-(10**4), 10**4, out_c),
        requant=nn_requant(quants[0], one_scale, ofm),
        phases=phases or (plain_phase(*steps, out),),
        stride=(stride, stride),
        groups=groups,
    )


def results(conv: Convolution, kernel, *, planes=False) -> np.ndarray | None:
    rng = np.random.default_rng(5)
    n, c, h, w = conv.ifm.shape
    codes = np.iinfo(np.uint8 if conv.ifm.dtype.bits == 8 else np.int16)
    ifm = rng.integers(codes.min, codes.max, (n, h, w, c), endpoint=True).astype(codes.dtype)
    ifm = ifm.transpose(0, 3, 1, 2)
    ifm = np.ascontiguousarray(ifm) if planes else ifm
    n, c, h, w = conv.ofm.shape
    ofm = np.full((n, h, w, c), 71, codes.dtype)
    for phase in conv.phases:
        run = bind_to(kernel, conv, phase)
        if run is None:
            return None
        calls = Calls()
        run(calls, ifm, ofm)
        calls.run()
    return ofm


TRANSPOSED = (  # two phases of one with stride (1, 2): even columns and odd ones
    Phase(
        taps=((0, 0), (1, 0)), places=((0, 0), (1, 0)), pad_before=(1, 0), out_size=(9, 8),
        out_step=(1, 2),
    ),
    Phase(
        taps=((0, 1), (1, 1)), places=((0, 0), (1, 0)), pad_before=(0, -1), out_size=(7, 7),
        out_step=(1, 2), out_start=(1, 1),
    ),
)  # fmt: skip
SLANTED = Phase(taps=((0, 0), (1, 1)), places=((0, 0), (1, 1)), pad_before=(0, 0), out_size=(7, 7))
CASES = {
    "in place": convolution(64, 64),
    "in place, many pixels": convolution(64, 32, size=(21, 19)),
    "in place, 3x3 without padding": convolution(32, 16, 3, size=(11, 40)),
    "a window": convolution(64, 64, 3, pad=1),
    "rest of a run": convolution(100, 48, 3, pad=1),
    "several panels, odd channels": convolution(64, 177, size=(5, 7)),
    "one tile of channels": convolution(64, 9, size=(9, 9)),
    "few pixels": convolution(128, 64, size=(3, 5)),
    "few pixels behind a block": convolution(128, 64, size=(6, 6)),
    "stride": convolution(64, 40, 3, 2, 1, size=(15, 17)),
    "stride without a kernel": convolution(64, 64, 1, 2, size=(15, 17)),
    "picture": convolution(3, 64, 7, 2, 3, size=(40, 44)),
    "picture in its place": convolution(3, 16, 3, size=(40, 44)),
    "stride 3 of a kernel of 2": convolution(64, 64, 2, 3, 1, size=(15, 17)),
    "dilation": convolution(64, 64, 3, 1, 2, size=(9, 9), dilation=2),
    "groups": convolution(192, 96, 3, pad=1, groups=3),
    "images": convolution(64, 64, 3, pad=1, images=3),
    "signed bytes": convolution(64, 64, 3, pad=1, dtype=DType.I8, quants=I8),
    "signed bytes in place": convolution(64, 64, dtype=DType.I8, quants=I8),
    "words": convolution(64, 48, 3, pad=1, dtype=DType.I16, quants=I16),
    "words, several panels, few pixels": convolution(
        80, 150, size=(3, 4), dtype=DType.I16, quants=I16
    ),
    "words, stride, groups": convolution(
        128, 66, 3, 2, 1, size=(15, 17), groups=2, dtype=DType.I16, quants=I16
    ),
    "words, images, dilation": convolution(
        64, 32, 2, size=(9, 7), images=2, dilation=3, dtype=DType.I16, quants=I16
    ),
    "words, phases": convolution(
        64, 64, 2, phases=TRANSPOSED, ofm_size=(9, 15), dtype=DType.I16, quants=I16
    ),
    "taps that are no grid": convolution(
        64, 64, 2, phases=(SLANTED,), ofm_size=(7, 7), quants=U8_MIDDLE
    ),
    "phases": convolution(64, 64, 2, phases=TRANSPOSED, ofm_size=(9, 15)),
}


@needs_avx512
@pytest.mark.parametrize("name", CASES)
def test_tiles_give_the_portable_bits(tiles, monkeypatch, name):
    emulated_tiles.take_all(monkeypatch)
    conv = CASES[name]
    kernel, exact = WORDS if conv.ifm.dtype is DType.I16 else BYTES
    actual = results(conv, kernel)
    assert actual is not None
    assert np.ptp(actual.astype(np.int64)) > 100, "the store shows too little"
    expected = results(conv, exact)
    np.testing.assert_array_equal(actual, expected)
    np.testing.assert_array_equal(results(conv, kernel, planes=True), expected)


@needs_avx512
@pytest.mark.parametrize("weight", [-(2**15), 2**15 - 1, -1, 255, 256])
def test_extreme_words(tiles, weight):
    """Sums of bytes at their limits; the input's are those of the smallest and largest code."""
    conv = convolution(64, 64, 3, pad=1, dtype=DType.I16, quants=I16)
    conv.weights[:] = weight
    conv.weights[::3] //= 3
    conv.bias[:] = np.linspace(-(2**45), 2**45, 64).astype(np.int64)
    scale = conv.requant.multiplier * 2.0**-conv.requant.shift
    assert scale <= 1
    codes = np.array([-(2**15), 2**15 - 1, -1, 0, 255, 256], np.int16)
    ifm = np.random.default_rng(0).choice(codes, (1, 8, 8, 64)).transpose(0, 3, 1, 2)
    ofms = [np.zeros((1, 8, 8, 64), np.int16) for _ in WORDS]
    for kernel, ofm in zip(WORDS, ofms, strict=True):
        run = bind_to(kernel, conv, conv.phases[0])
        assert run is not None
        calls = Calls()
        run(calls, ifm, ofm)
        calls.run()
    np.testing.assert_array_equal(*ofms)


@needs_avx512
def test_words_whose_bytes_might_overflow_keep_vnni(tiles, monkeypatch):
    emulated_tiles.take_all(monkeypatch)
    deeper = convolution(512, 16, 9, size=(9, 9), dtype=DType.I16, quants=I16)
    deepest = convolution(512, 16, 8, size=(12, 12), dtype=DType.I16, quants=I16)
    assert results(deeper, WORDS[0]) is None
    actual = results(deepest, WORDS[0])
    assert actual is not None
    np.testing.assert_array_equal(actual, results(deepest, WORDS[1]))


@needs_avx512
def test_inputs_of_a_slanted_kernel_are_not_summed(tiles):
    conv = convolution(64, 64, 2, phases=(SLANTED,), ofm_size=(7, 7))
    assert results(conv, int8_conv_amx.conv2d_8bit) is None


@needs_avx512
@pytest.mark.parametrize("zero_point", [0, 1, 127, 128, 129, 254, 255])
def test_zero_points_of_weights(tiles, zero_point):
    quants = U8[0], Affine(scale=0.01, zero_point=zero_point)
    for conv in (
        convolution(64, 64, 3, pad=1, quants=quants),
        convolution(128, 64, 3, pad=1, quants=quants, groups=2),
    ):
        actual = results(conv, int8_conv_amx.conv2d_8bit)
        np.testing.assert_array_equal(actual, results(conv, portable.conv2d_8bit))


@needs_avx512
@pytest.mark.parametrize("weights_zero", [0, 5])
def test_sums_wrap(tiles, weights_zero):
    """Bias and products beyond 32 bits."""
    quants = Affine(scale=0.02, zero_point=0), Affine(scale=0.01, zero_point=weights_zero)
    conv = convolution(64, 64, quants=quants)
    conv.bias[:] = 2**31 - 1
    conv.bias[::2] = -(2**31)
    actual = results(conv, int8_conv_amx.conv2d_8bit)
    assert actual is not None
    np.testing.assert_array_equal(actual, results(conv, portable.conv2d_8bit))


@needs_avx512
def test_channels_with_zero_points_of_their_own_keep_vnni(tiles):
    """One sum of inputs a pixel serves only one zero point, unless the weights need none."""
    zeros = tuple(range(100, 164))
    conv = convolution(
        64, 64, quants=(U8[0], AffinePerChannel(scales=(0.01,) * 64, zero_points=zeros))
    )
    assert results(conv, int8_conv_amx.conv2d_8bit) is None
    conv.weights[:] = 100
    actual = results(conv, int8_conv_amx.conv2d_8bit)
    np.testing.assert_array_equal(actual, results(conv, portable.conv2d_8bit))


@needs_avx512
@pytest.mark.parametrize(
    ("conv", "gains"),
    [
        (convolution(64, 64, 3, pad=1), True),
        (convolution(3, 32, 3, 2, 1, size=(24, 24)), False),
        (convolution(3, 64, 7, 2, 3, size=(224, 224)), False),
        (convolution(16, 96, size=(12, 12)), False),
        (convolution(512, 1000, size=(1, 1)), False),
        (convolution(64, 8, size=(12, 12)), False),
        (convolution(96, 24, size=(12, 12)), False),
        (convolution(64, 16, size=(12, 12)), True),
        (convolution(96, 32, size=(12, 12)), True),
    ],
)
def test_layers_that_gain_nothing_keep_vnni(tiles, conv, gains):
    assert (bind_to(int8_conv_amx.conv2d_8bit, conv, conv.phases[0]) is not None) == gains


@needs_avx512
def test_what_tiles_have_no_kernel_for_runs_on_vnni(tiles):
    found = kernel_table.candidates(kernel_table.Work.CONVOLUTION, DType.U8, DType.U8)
    assert found == (
        int8_conv_amx.conv2d_8bit,
        int8_conv_vnni.conv2d_8bit,
        portable.conv2d_8bit,
    )
    found = kernel_table.candidates(kernel_table.Work.DEPTHWISE, DType.U8, DType.U8)
    assert next(kernel.name for kernel in found) == "int8_depthwise_vnni.depthwise_8bit"


@pytest.mark.slow
@needs_avx512
@pytest.mark.parametrize("scheme", ["u8", "i8", "i16"])
def test_a_network_has_the_bits_of_the_other_paths(monkeypatch, request, scheme):
    graph = npusim.load_model(assets.model_path(), input_shapes={"x": (1, 3, 48, 192)})
    feeds = {"x": np.random.default_rng(0).normal(size=(1, 3, 48, 192)).astype(np.float32)}
    ready = npusim.quantize(graph, [("random", feeds)], scheme=scheme, engine="npusim")

    def layers():
        seen = {}
        npusim.compile(ready).run(
            feeds,
            preprocessed=True,
            observe=lambda node, tensor, value: seen.setdefault(node.layer_id, value.copy()),
        )
        return seen

    expected = layers()
    request.getfixturevalue("tiles")
    emulated_tiles.take_all(monkeypatch)
    actual = layers()
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(actual[name], value, err_msg=name)


# ---- when it is offered --------------------------------------------------------------------------
@needs_avx512
@pytest.mark.parametrize("threads", [1, 64])
def test_self_check_passes_on_right_tiles_and_finds_wrong_ones(tiles, monkeypatch, threads):
    monkeypatch.setattr(layout, "thread_count", lambda: threads)
    assert amx_check.fault() == ""
    for module, name, where in (
        (amx.int8_conv_amx, "conv2d_8bit", "u8 1x1 64->80 stride 1 differs"),
        (amx_words.i16_conv_amx, "conv2d_i16", "i16 3x3 64->48 stride 1 differs"),
    ):
        right = getattr(module, name)

        def wrong(*args, right=right):
            right(*args)
            args[-3][0, 0, 0, 0] ^= 1

        with monkeypatch.context() as patch:
            patch.setattr(module, name, wrong)
            assert where in amx_check.fault()


@pytest.fixture
def unasked(monkeypatch):
    """Forget what was asked before, and afterwards what was asked here."""
    caches = tile_permission.refusal, isa.amx_refusal, isa.selected
    for cache in caches:
        cache.cache_clear()
    yield monkeypatch
    monkeypatch.undo()
    for cache in caches:
        cache.cache_clear()


def processor(patch, **changes):
    """Let the processor have tiles, with changes."""
    found = dict.fromkeys(AMX_INT8, True) | changes
    patch.setattr(tile_permission.binding, "get_host_cpu_features", lambda: found)
    patch.setattr(tile_permission, "target_has", lambda features: True)
    patch.setattr(tile_permission.sys, "platform", "linux")


def system(patch, *, request=0, state=0, granted=1 << 18):
    """Let Linux answer the request and the question what it granted."""

    def call(number, code, argument):
        assert number.value == 158
        error = request if code.value == 0x1023 else state
        ctypes.set_errno(error)
        if code.value == 0x1023:
            assert argument.value == 18
        elif not error:
            argument._obj.value = granted
        return -1 if error else 0

    patch.setattr(tile_permission.ctypes, "CDLL", lambda *_, **__: SimpleNamespace(syscall=call))


def test_processor_without_tiles(unasked):
    processor(unasked, **{"amx-int8": False})
    assert isa.amx_refusal() == "the processor has no amx-int8"


def test_features_that_cannot_be_told(unasked):
    def unknown():
        raise RuntimeError

    unasked.setattr(tile_permission.binding, "get_host_cpu_features", unknown)
    assert "amx-tile" in isa.amx_refusal()


def test_code_for_another_processor(unasked):
    processor(unasked)
    unasked.setattr(tile_permission, "target_has", lambda features: False)
    assert "NUMBA_CPU_FEATURES" in isa.amx_refusal()


def test_system_that_cannot_be_asked(unasked):
    processor(unasked)
    unasked.setattr(tile_permission.sys, "platform", "win32")
    assert "win32" in isa.amx_refusal()


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ({"request": errno.EPERM}, "does not grant the tile registers (Operation not permitted)"),
        ({"request": errno.ENOSPC}, "does not grant the tile registers (a thread's stack"),
        ({"state": errno.EINVAL}, "does not say whether"),
        ({"granted": 7}, "did not grant"),
    ],
)
def test_system_that_refuses(unasked, answers, reason):
    processor(unasked)
    system(unasked, **answers)
    assert reason in isa.amx_refusal()
    assert isa.AMX not in isa.available()
    unasked.setenv("NPUSIM_ISA", "amx")
    with pytest.raises(ConfigError, match="NPUSIM_ISA is 'amx': not offered: the system"):
        isa.selected()


def test_self_check_decides_when_all_is_granted(unasked):
    processor(unasked)
    system(unasked)
    unasked.setenv("NPUSIM_ISA", "amx")
    answers = ["", "u8 3x3 differs"]
    unasked.setattr(amx_check, "fault", lambda: answers[0])
    assert isa.amx_refusal() == ""
    assert isa.available()[-1] == isa.selected() == isa.AMX
    isa.amx_refusal.cache_clear()
    isa.selected.cache_clear()
    unasked.setattr(amx_check, "fault", lambda: answers[1])
    with pytest.raises(ConfigError, match="not offered: u8 3x3 differs"):
        isa.selected()


@pytest.mark.skipif(tile_permission.refusal() == "", reason="this processor has tiles")
@pytest.mark.skipif(not emulated_tiles.POSSIBLE, reason="the call is that of x86-64 Linux")
def test_the_real_system_refuses_tiles_that_do_not_exist():
    assert "does not grant the tile registers" in tile_permission._ask_linux()


def test_nothing_is_asked_when_another_path_is_wanted(unasked):
    def asked():
        raise AssertionError

    unasked.setattr(tile_permission, "refusal", asked)
    unasked.setenv("NPUSIM_ISA", "portable")
    assert isa.selected() == isa.PORTABLE


def test_a_refusal_leaves_the_path_before(unasked):
    processor(unasked)
    system(unasked)
    unasked.delenv("NPUSIM_ISA", raising=False)
    unasked.setattr(amx_check, "fault", lambda: "u8 3x3 differs")
    assert isa.selected() == isa.available()[-1] != isa.AMX

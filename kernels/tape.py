"""One compiled call that makes many: kernels called by address, by several threads at once.

A *tape* is a row of records in one int64 array, each a kernel call:

    form, address, rows, scratches, (argument, offset) * scratches, arguments..

``form`` says which signature the kernel at ``address`` has (``form_of``); the arguments are the
machine words of its parameters, one after the other (``leaves``). The last two parameters of every
kernel are the rows to compute, first and behind the last: they are set here. An argument listed as
scratch is set to an offset in the memory of the thread.

Records are walked in *groups*, (first record, behind the last, shares): one record whose rows are
cut into shares, or several that one thread computes whole, shares = 1. A group begins when all
shares of the one before are done. Threads take shares from a board:

    board[TICKET]   group << SHARE_BITS | next share     only ever grows
    board[DONE]     finished shares of this group
    board[FAILED]   1 + the record of a kernel that returned an error, or 0

A share is taken by exchanging the ticket for the next one, which fails when another thread was
faster, or when the walk that the thread belongs to is over: so threads may come late, or not at
all, and nobody waits for one that computes nothing.
"""

from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils, sigutils, types
from numba.extending import intrinsic

from npusim.kernels._jit import kernel, primitive
from npusim.kernels.elementwise import (
    copy_runs,
    f16_binary,
    i16_binary,
    int8_lut_vbmi,
    lut,
    real_codes,
    store_sums,
    u8_binary,
    u8_sum_vnni,
)
from npusim.kernels.wait import look
from npusim.kernels.windows import (
    conv,
    fc,
    i16_conv_amx,
    i16_conv_pairs,
    i16_depthwise_vnni,
    int8_conv_amx,
    int8_conv_avx2,
    int8_conv_vnni,
    int8_depthwise_vnni,
    pool,
)

KERNELS = (
    conv.conv2d_8bit,
    conv.conv2d_8bit_to_half,
    conv.conv2d_f16,
    conv.conv2d_i16,
    copy_runs.copy_elements,
    copy_runs.copy_runs,
    copy_runs.gather_pixels,
    f16_binary.binary,
    fc.fc_tp_8bit,
    fc.fc_tp_f16,
    fc.fc_tp_integer,
    i16_binary.shader,
    i16_binary.weighted_sum,
    i16_conv_amx.conv2d_i16,
    i16_conv_pairs.conv2d_i16_avx512,
    i16_depthwise_vnni.depthwise_i16,
    int8_conv_amx.conv2d_8bit,
    int8_conv_avx2.conv2d_8bit,
    int8_conv_vnni.conv2d_8bit,
    int8_depthwise_vnni.depthwise_8bit,
    int8_lut_vbmi.map_bytes,
    lut.clip_words,
    lut.map_codes,
    lut.map_pairs,
    pool.average_maps,
    pool.max_pool_16bit,
    pool.max_pool_8bit,
    real_codes.dequantize_8bit,
    real_codes.quantize_f32,
    store_sums.store_sums,
    u8_binary.shader,
    u8_binary.weighted_sum,
    u8_sum_vnni.weighted_sum,
)
TICKET, DONE, FAILED = 0, 8, 16  # on cache lines of their own
BOARD_SIZE = 24
SHARE_BITS = 20
FORM, ADDRESS, ROWS, SCRATCHES, ARGUMENTS = range(5)  # words of a record
_LOOKS = 20_000  # before the processor is offered to others


def arguments_of(signature: str) -> tuple[Any, ...]:
    """Return the types of the parameters of a signature."""
    return sigutils.normalize_signature(signature)[0]


@cache
def _forms() -> tuple[tuple[Any, ...], ...]:
    return tuple(dict.fromkeys(arguments_of(text) for k in KERNELS for text in k.signatures))


def form_of(arguments: tuple[Any, ...]) -> int | None:
    """Return the number of a signature (Numba types of the parameters), None when it has none."""
    return _forms().index(arguments) if arguments in _forms() else None


@intrinsic
def _call(typing_context, form, address, arguments):
    """Call the function at an address with arguments in memory; return its status."""

    def generate(context, builder, signature, values):
        number, function, place = values
        words = builder.inttoptr(place, ir.IntType(64).as_pointer())
        status = cgutils.alloca_once_value(builder, ir.Constant(ir.IntType(32), 1))
        end = builder.append_basic_block("called")
        choice = builder.switch(number, end)
        for form_number, form_arguments in enumerate(_forms()):
            block = builder.append_basic_block(f"form{form_number}")
            choice.add_case(ir.Constant(number.type, form_number), block)
            builder.position_at_end(block)
            kind = context.call_conv.get_function_type(types.none, form_arguments)
            nothing, error, *leaves = kind.args
            passed = [
                cgutils.alloca_once(builder, nothing.pointee),
                cgutils.alloca_once(builder, error.pointee),
            ]
            for position, leaf in enumerate(leaves):
                at = builder.gep(words, [ir.Constant(ir.IntType(64), position)])
                passed.append(builder.load(builder.bitcast(at, leaf.as_pointer())))
            target = builder.inttoptr(function, kind.as_pointer())
            builder.store(builder.call(target, passed), status)
            builder.branch(end)
        builder.position_at_end(end)
        return builder.load(status)

    return types.int32(types.int64, types.int64, types.int64), generate


@intrinsic
def _offer_processor(typing_context, address):
    """Call the function ``int f(void)`` at an address."""

    def generate(context, builder, signature, values):
        kind = ir.FunctionType(ir.IntType(32), [])
        builder.call(builder.inttoptr(values[0], kind.as_pointer()), [])
        return context.get_dummy_value()

    return types.void(types.int64), generate


def _place(context, builder, signature, values):
    array = context.make_array(signature.args[0])(context, builder, values[0])
    return cgutils.gep_inbounds(builder, array.data, values[1])


@intrinsic
def _exchange(typing_context, board, place, old, new):
    """Set ``board[place]`` from ``old`` to ``new`` at once; tell whether it was ``old``."""

    def generate(context, builder, signature, values):
        at = _place(context, builder, signature, values)
        result = builder.cmpxchg(at, values[2], values[3], "acq_rel", "acquire")
        return builder.extract_value(result, 1)

    return types.boolean(board, place, types.int64, types.int64), generate


@intrinsic
def _add(typing_context, board, place, number):
    """Add to ``board[place]`` at once and return what it was."""

    def generate(context, builder, signature, values):
        at = _place(context, builder, signature, values)
        return builder.atomic_rmw("add", at, values[2], "acq_rel")

    return types.int64(board, place, types.int64), generate


@intrinsic
def _publish(typing_context, board, place, number):
    """Set ``board[place]`` after everything that was written before."""

    def generate(context, builder, signature, values):
        at = _place(context, builder, signature, values)
        builder.store_atomic(values[2], at, "release", 8)
        return context.get_dummy_value()

    return types.void(board, place, types.int64), generate


@primitive
def _run(words, record, number, first, last, scratch, board):
    """Compute rows first..last of a record."""
    scratches = words[record + SCRATCHES]
    begin = record + ARGUMENTS
    arguments = begin + 2 * scratches + 1
    for entry in range(scratches):
        words[arguments + words[begin + 2 * entry]] = scratch + words[begin + 2 * entry + 1]
    rows = arguments + words[arguments - 1]
    words[rows], words[rows + 1] = first, last
    place = np.int64(words.ctypes.data) + 8 * arguments
    if _call(words[record + FORM], words[record + ADDRESS], place) != 0:
        _publish(board, FAILED, number + 1)


@kernel("void(i8[::1], i8[::1], i8[:, ::1], i8[::1], i8, i8, i8, i8, i8)")
def walk(words, records, groups, board, scratch, base, begin, end, offer):
    """Take shares of groups begin..end until all are done.

    Parameters
    ----------
    words : int64
        The records; every thread has a copy of its own.
    records : int64 (records,)
        Where each begins.
    groups : int64 (groups, 3)
    board : int64 (BOARD_SIZE,)
        Shared. Its ticket is at ``base + begin`` or beyond.
    scratch : int
        Address of this thread's scratch memory.
    base : int
        What the ticket calls the first group: another number for every walk over a board.
    begin, end : int
        Range of the groups.
    offer : int
        Address of a function that lets other threads use the processor, or 0.
    """
    looks = 0
    while True:
        ticket = look(board, TICKET)
        group = (ticket >> SHARE_BITS) - base
        if group < begin or group >= end:
            return
        share, shares = ticket & ((1 << SHARE_BITS) - 1), groups[group, 2]
        if share >= shares:  # the others compute the last ones
            looks += 1
            if looks > _LOOKS and offer:
                _offer_processor(offer)
            continue
        if not _exchange(board, TICKET, ticket, ticket + 1):
            continue
        looks = 0
        for number in range(groups[group, 0], groups[group, 1]):
            record = records[number]
            rows = words[record + ROWS]
            first, last = rows * share // shares, rows * (share + 1) // shares
            _run(words, record, number, first, last, scratch, board)
        if shares == 1 or _add(board, DONE, 1) == shares - 1:
            _publish(board, DONE, 0)
            _publish(board, TICKET, (base + group + 1) << SHARE_BITS)

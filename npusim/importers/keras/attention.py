"""Attention."""

from collections.abc import Sequence

import numpy as np

from npusim.importers.common.builder import UnsupportedForm
from npusim.importers.common.layers import plus, times
from npusim.importers.common.made import check_made
from npusim.importers.common.ordered_conv import dense, matmul
from npusim.importers.common.ordered_math import along
from npusim.importers.keras.context import KerasContext, KerasNode, converter, needs_rank

_HIDDEN = -30000.0
"""Added to scores that must not be seen: their probability is 0 in float16 as well."""


def _asked(node: KerasNode) -> tuple[str, str, str]:
    """Return query, value and key, which is the value unless it is given."""
    if not 1 < len(node.inputs) <= 3:
        raise UnsupportedForm(f"{len(node.inputs)} inputs", "query, value and perhaps key")
    query, value, *key = node.inputs
    for word in ("attention_mask", "query_mask", "value_mask", "key_mask"):
        if node.kwargs.get(word) is not None:
            raise UnsupportedForm(f"{word} is given", "add the mask to the scores instead")
    return query, value, key[0] if key else value


def _causal(node: KerasNode, context: KerasContext, scores: str) -> str:
    if not node.kwargs.get("use_causal_mask"):
        return scores
    rows, columns = context.shape(scores)[-2:]
    check_made((rows, columns), "the mask", node.where)
    hidden = np.triu(np.full((rows, columns), _HIDDEN, np.float32), 1)
    return context.chain(node, scores, plus(hidden), part="causal")


@converter("MultiHeadAttention")
def multi_head(node: KerasNode, context: KerasContext) -> None:
    """Project query, key and value, weigh by softmax, project back."""
    query, value, key = _asked(node)
    heads, depth = node.whole("num_heads", 1), node.whole("key_dim", 1)
    wide = node.whole("value_dim", depth) or depth
    if node.flag("use_gate", False) or node.config.get("sliding_window") is not None:
        raise UnsupportedForm("a gate or a window", "use plain attention")
    if node.kwargs.get("return_attention_scores"):
        raise UnsupportedForm("it returns its scores", "use the result only")
    for name in (query, value, key):
        needs_rank(node, context, name, 3)
    projected = []
    for name, word, size in ((query, "query", depth), (key, "key", depth), (value, "value", wide)):
        rows = _projected(node, context, name, word, (heads, size))
        batch, steps = context.shape(name)[:2]
        cut = context.reshape(node, rows, (batch, steps, heads, size), part=f"{word}_heads")
        turned = context.unused(f"{node.outputs[0]}/{word}_turned")
        context.alias(turned, cut, (0, 2, 1, 3))
        projected.append(turned)
    scaled = context.chain(node, projected[0], times(depth**-0.5), part="scaled")
    scores = matmul(context, node, scaled, projected[1], turn_second=True, part="scores")
    scores = _causal(node, context, scores)
    chances = along(context, node, "softmax", scores, 3, part="softmax")
    mixed = matmul(context, node, chances, projected[2], part="mixed")
    turned = context.unused(f"{node.outputs[0]}/mixed_turned")
    context.alias(turned, mixed, (0, 2, 1, 3))
    batch, steps, _, _ = context.shape(turned)
    flat = context.reshape(node, turned, (batch, steps, heads * wide), part="joined")
    wished = node.config.get("output_shape")
    out = wished if isinstance(wished, int) else wished[-1] if wished else context.shape(query)[-1]
    shapes: dict[str, Sequence[int]] = {"kernel": (heads, wide, out)}
    if node.flag("use_bias", True):
        shapes["bias"] = (out,)
    weights, *bias = context.learned(node, shapes, ("output_dense",))
    dense(context, node, flat, weights.reshape(heads * wide, out).T, *bias)


def _projected(
    node: KerasNode, context: KerasContext, source: str, word: str, size: tuple[int, int]
) -> str:
    depth = context.shape(source)[-1]
    shapes: dict[str, Sequence[int]] = {"kernel": (depth, *size)}
    if node.flag("use_bias", True):
        shapes["bias"] = size
    weights, *bias = context.learned(node, shapes, (f"{word}_dense",))
    rows = weights.reshape(depth, -1).T
    return dense(context, node, source, rows, *(b.reshape(-1) for b in bias), part=word)


@converter("Attention")
def attention(node: KerasNode, context: KerasContext) -> None:
    """Weigh values by the softmax of products."""
    query, value, key = _asked(node)
    if node.text("score_mode", "dot") != "dot":
        raise UnsupportedForm("score_mode concat", "use dot")
    for name in (query, value, key):
        needs_rank(node, context, name, 3)
    scores = matmul(context, node, query, key, turn_second=True, part="scores")
    if node.flag("use_scale", False):
        (scale,) = context.learned(node, {"scale": ()})
        scores = context.chain(node, scores, times(float(scale)), part="scaled")
    scores = _causal(node, context, scores)
    chances = along(context, node, "softmax", scores, 2, part="softmax")
    matmul(context, node, chances, value)

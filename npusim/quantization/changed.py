"""Models whose weights were changed on purpose before they were quantized, told by their notes."""

from collections.abc import Sequence

EQUALIZED = "weights equalized across"  # how the note of an equalization begins
CORRECTED = "biases corrected for the mean error of the weights"


def changed_on_purpose(notes: Sequence[str]) -> str:
    """Return "equalized", "bias-corrected" or both of a graph's notes; empty when it is neither.

    Inside of such a model the values are others than those of the model it was made from.
    """
    words = {"equalized": EQUALIZED, "bias-corrected": CORRECTED}
    return " and ".join(word for word, mark in words.items() if any(mark in n for n in notes))

"""How many elements may differ, per operator and type, as data.

The documents of the measured arithmetic state, for every operator, mismatches out of elements
compared. Where that is 0, nothing is granted. Elsewhere the same share of the elements compared is
granted, and three standard deviations of such a count (other data meets other ties), each element
off by at most ``max_diff``.
"""

from dataclasses import dataclass
from math import ceil, sqrt


@dataclass(frozen=True, slots=True)
class Allowance:
    """``mismatches`` out of ``elements`` may differ by up to ``max_diff`` steps.

    ``max_diff`` None: the reference is known not to be modelled, every element may differ.
    """

    mismatches: int
    elements: int
    max_diff: int | None
    source: str

    def granted(self, elements: int) -> int:
        """Return how many of ``elements`` may differ."""
        if self.max_diff is None:
            return elements
        expected = self.mismatches * elements / self.elements
        return ceil(expected + 3 * sqrt(expected))


NOTHING = Allowance(0, 1, 0, "exact")
_SHADER, _TP = "docs/arithmetic/shader.md", "docs/arithmetic/tp.md"

ALLOWANCES: dict[tuple[str, str], Allowance] = {
    ("resize", "u8"): Allowance(1, 308720, 1, f"{_SHADER} rule 8.3"),
    ("resize", "f16"): Allowance(3, 14428, 1, f"{_SHADER} rule 8.4: half_pixel, factor 2"),
    ("reduce_mean", "i16"): Allowance(1, 364, 1, f"{_TP} rule 5.4"),
    ("reduce_mean", "f16"): Allowance(1, 386, 1, f"{_TP} rule 5.4"),
    ("layer_norm", "i16"): Allowance(1, 3754, 1, f"{_SHADER} rule 7.6"),
    ("instance_norm", "i16"): Allowance(2, 23486, 1, f"{_SHADER} rule 7.5"),
    ("instance_norm", "f16"): Allowance(3, 27745, 1, f"{_SHADER} rule 7.5"),
    ("layer_norm", "u8"): Allowance(1, 25033, 1, f"{_SHADER} rule 7.6"),
    ("l2norm", "i16"): Allowance(1, 25147, 1, f"{_SHADER} rule 7.3"),
    ("pow", "u8"): Allowance(1, 69933, 1, f"{_SHADER} rule 3.7"),
    ("lrn", "u8"): Allowance(1, 37469, 1, f"{_TP} rule 4.2"),
    ("matmul", "f16"): Allowance(3, 9501, 1, f"{_SHADER} rule 5.2"),
    ("matmul transposed", "i16"): Allowance(
        1, 1, None, "docs/fidelity.md section 3: the chip misreads groups of eight"
    ),
}


def allowance(op: str, dtype: str) -> Allowance:
    """Return the allowance of an operator label and type; ``NOTHING`` when results are exact."""
    return ALLOWANCES.get((op, dtype), NOTHING)

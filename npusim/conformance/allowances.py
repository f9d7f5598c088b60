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
_TABLES = "ARITHMETIC_OPS.md section 1: last bit of the reference's exp and log"
_SHADER_FUNCTIONS = "ARITHMETIC_OPS.md section 4: last bit of the reference's functions"

ALLOWANCES: dict[tuple[str, str], Allowance] = {
    ("swish", "f16"): Allowance(32, 131072, 1, _TABLES),
    ("mish", "f16"): Allowance(4, 131072, 1, _TABLES),
    ("elu", "f16"): Allowance(32, 131072, 1, _TABLES),
    ("log", "i16"): Allowance(18, 131072, 1, _TABLES),
    ("log", "f16"): Allowance(12, 131072, 1, _TABLES),
    ("lrn", "f16"): Allowance(1, 1094, 1, "ARITHMETIC_OPS.md section 2"),
    ("add", "u8"): Allowance(6, 1856829, 1, "ARITHMETIC_OPS.md section 3: ties within 2e-5"),
    ("sub", "u8"): Allowance(2, 1847310, 1, "ARITHMETIC_OPS.md section 3: ties within 2e-5"),
    ("softplus", "i16"): Allowance(61, 131072, 1, _SHADER_FUNCTIONS),
    ("softplus", "f16"): Allowance(2, 131072, 1, _SHADER_FUNCTIONS),
    ("exp", "i16"): Allowance(17, 131072, 1, _SHADER_FUNCTIONS),
    ("rsqrt", "i16"): Allowance(15, 131072, 1, _SHADER_FUNCTIONS),
    ("softmax", "f16"): Allowance(10, 4466, 1, _SHADER_FUNCTIONS),
    ("resize", "u8"): Allowance(1, 27016, 1, "ARITHMETIC_OPS.md section 5"),
    ("resize", "f16"): Allowance(3, 14428, 1, "ARITHMETIC_OPS.md section 9: half_pixel, factor 2"),
    ("reduce_mean", "i16"): Allowance(1, 364, 1, "ARITHMETIC_OPS.md section 6"),
    ("reduce_mean", "f16"): Allowance(1, 386, 1, "ARITHMETIC_OPS.md section 6"),
    ("layer_norm", "i16"): Allowance(1, 3754, 1, "ARITHMETIC_OPS.md section 6"),
    ("pow", "i8"): Allowance(2, 34588, 1, "docs/fidelity.md section 8"),
    ("pow", "f16"): Allowance(6, 27604, 1, "docs/fidelity.md section 8"),
    ("instance_norm", "i16"): Allowance(1, 16679, 1, "docs/fidelity.md section 8"),
    ("matmul transposed", "i16"): Allowance(
        1, 1, None, "ARITHMETIC_OPS.md section 6: partial sums wrap in an unknown way"
    ),
}


def allowance(op: str, dtype: str) -> Allowance:
    """Return the allowance of an operator label and type; ``NOTHING`` when results are exact."""
    return ALLOWANCES.get((op, dtype), NOTHING)

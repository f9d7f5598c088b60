"""What releases of RKNN-Toolkit do differently when they set ranges and lower layers.

One record per behaviour, chosen by the release (``toolkit="1.7.3"``); the default is what the files
of 1.7.x have in common. Rules that all known releases share stand where they are applied.
Evidence: docs/quantization.md.
"""

from dataclasses import dataclass

from npusim.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Era:
    """Rules of one release.

    Attributes
    ----------
    toolkit : str
        The release, ``"1.7"`` when none is named.
    slices_rule : bool
        The measured range of a slice that feeds a concat becomes that of the concat it reads, whose
        other values are clipped (1.7.0). Otherwise a slice takes the range of what it reads.
    moves_unclipped : bool
        A tensor in front of a sigmoid that only follows another one (a permute) loses the clip
        again when the model is exported (1.7.5).
    splits_deconv : bool
        A transposed convolution of 2x2 with stride 2 becomes two layers, and what follows it is not
        folded into it (1.7.3).
    fine_sums : bool
        i16 results have the fraction bits of their own range even where the NN engine then stores
        -32768 for every negative sum. Otherwise they have no more than the sum.
    """

    toolkit: str = "1.7"
    slices_rule: bool = False
    moves_unclipped: bool = False
    splits_deconv: bool = False
    fine_sums: bool = False


DEFAULT_ERA = Era()
ERAS = {
    era.toolkit: era
    for era in (
        DEFAULT_ERA,
        Era(toolkit="1.6.0", fine_sums=True),
        Era(toolkit="1.7.0", slices_rule=True, fine_sums=True),
        Era(toolkit="1.7.1", fine_sums=True),
        Era(toolkit="1.7.3", splits_deconv=True, fine_sums=True),
        Era(toolkit="1.7.5", moves_unclipped=True, fine_sums=True),
    )
}


def era_of(toolkit: "Era | str") -> Era:
    """Return the rules of a release, named as in ``ERAS``.

    Raises
    ------
    ConfigError
        When nothing is known of this release; the known ones are listed.
    """
    if isinstance(toolkit, Era):
        return toolkit
    try:
        return ERAS[str(toolkit).strip().lower().removeprefix("v")]
    except KeyError:
        raise ConfigError(
            f"the rules of toolkit {toolkit!r} are not known",
            rule=f"one of {', '.join(sorted(ERAS))}",
            remedy="leave the release out: 1.7 is what the releases have in common",
        ) from None

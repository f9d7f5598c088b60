"""Loops are written out turn by turn, functions call by call; what that may grow to."""

from dataclasses import dataclass

from npusim.importers.common.builder import MAX_LAYERS, GraphBuilder, UnsupportedForm

MAX_TURNS = 4096
MAX_VISITS = 1 << 19
"""Turns of one loop; operators that all turns and calls visit together."""

ON_DATA = "its number of turns depends on the input data"
ADVICE = (
    "fix the length of the sequence and convert again: fixed sizes of inputs without mask and "
    "sequence_length, unroll=True (Keras), static_rnn (version 1); or run it on the CPU"
)


@dataclass(slots=True)
class Budget:
    """What the loops of a network have used of the limits."""

    visits: int = 0

    def turn(self, number: int, operators: int, builder: GraphBuilder) -> None:
        """Count a turn, from 0; from the first one on equal constants are kept once.

        Parameters
        ----------
        operators : int
            How many the turn visits.

        Raises
        ------
        UnsupportedForm
            Beyond a limit.
        """
        self.visits += operators
        builder.share_constants()
        self._check(
            ((number + 1, MAX_TURNS, "turns"), *self._used(builder)),
            f" at turn {number}",
            f"loops are written out turn by turn, up to {MAX_TURNS} turns and {MAX_LAYERS} layers: "
            "cut the sequence into shorter ones",
        )

    def call(self, operators: int, builder: GraphBuilder) -> None:
        """Count a call of a function: two calls at each of thirty depths are a billion.

        Parameters
        ----------
        operators : int
            How many the function has.

        Raises
        ------
        UnsupportedForm
            Beyond a limit.
        """
        self.visits += 1 + operators
        self._check(
            self._used(builder),
            "",
            f"functions are written out where they are called, up to {MAX_LAYERS} layers",
        )

    def _used(self, builder: GraphBuilder) -> tuple[tuple[int, int, str], ...]:
        return (
            (len(builder.nodes), MAX_LAYERS, "layers"),
            (self.visits, MAX_VISITS, "operators in turns and calls"),
        )

    def _check(self, counts: tuple[tuple[int, int, str], ...], place: str, advice: str) -> None:
        for count, most, what in counts:
            if count > most:
                raise UnsupportedForm(f"written out it has more than {most} {what}{place}", advice)

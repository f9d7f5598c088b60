"""Loops are written out turn by turn; what that may grow to."""

from dataclasses import dataclass

from npusim.importers.common.builder import GraphBuilder, UnsupportedForm

MAX_TURNS = 4096
MAX_LAYERS = 1 << 16
MAX_VISITS = 1 << 19
"""Turns of one loop; layers of a network with loops; operators that all turns visit together."""

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
        for count, most, what in (
            (number + 1, MAX_TURNS, "turns"),
            (len(builder.nodes), MAX_LAYERS, "layers"),
            (self.visits, MAX_VISITS, "operators in turns"),
        ):
            if count > most:
                raise UnsupportedForm(
                    f"written out it has more than {most} {what} at turn {number}",
                    f"loops are written out turn by turn, up to {MAX_TURNS} turns and "
                    f"{MAX_LAYERS} layers: cut the sequence into shorter ones",
                )

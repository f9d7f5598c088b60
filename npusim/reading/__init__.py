"""The files that people and programs hand in: read within limits, or refused with file and place.

Every limit holds before memory is taken, and whatever a damaged or hostile file makes of a parser
(endless nesting, bytes that are no text, sizes that nothing holds) ends in an ``NpusimError`` of
the caller's kind.
"""

"""Every error says what to do."""

import pytest

from npusim import errors
from npusim.errors import NpusimError, located

KINDS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, NpusimError)
]


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_without_rule_and_remedy_has_the_usual_one(kind):
    assert "Remedy: " in str(kind("no"))
    assert kind("no").remedy == kind.usual_remedy
    said = str(kind("no", where="a.onnx", rule="yes"))
    assert said == "a.onnx: no\n  Rule: yes"
    assert "do so" in str(kind("no", remedy="do so"))


def test_an_error_is_told_again_as_it_was():
    def wrong():
        raise errors.GraphError("no", rule="yes")

    with pytest.raises(errors.GraphError) as raised:
        located("layer 'a'", wrong)
    assert str(raised.value) == "layer 'a': no\n  Rule: yes"


def test_a_line_that_a_file_made_endless_is_shortened():
    error = NpusimError(f"name {'a' * 100_000!r} is odd\nsecond line", rule="b" * 3000)
    assert len(str(error)) < 4000
    assert error.what.endswith("is odd\nsecond line")
    assert error.what.startswith("name 'aaa")
    assert NpusimError("c" * 2000).what == "c" * 2000

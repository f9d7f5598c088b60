"""``npusim explain`` prints one page, or the list."""

import json

import pytest
from typer.testing import CliRunner

from npusim import explain
from npusim.cli.app import app
from npusim.errors import ConfigError


def test_list_page_and_json():
    run = CliRunner()
    listed = run.invoke(app, ["explain"], env={"COLUMNS": "200"})
    assert listed.exit_code == 0
    assert all(code in listed.output for code in explain.codes())
    one = run.invoke(app, ["explain", "lrn-zeros"], env={"COLUMNS": "200"})
    assert "stored as zeros" in one.output
    assert json.loads(run.invoke(app, ["explain", "lrn-zeros", "--json"]).output) == [
        {
            "code": "lrn-zeros",
            "title": explain.title("lrn-zeros"),
            "page": explain.page("lrn-zeros"),
        }
    ]
    with pytest.raises(ConfigError, match="no page explains"):
        run.invoke(app, ["explain", "x"], catch_exceptions=False)

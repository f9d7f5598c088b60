"""The notebooks of examples/ run from start to end."""

import warnings
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


@pytest.mark.slow
@pytest.mark.parametrize("name", [path.name for path in sorted(EXAMPLES.glob("*.ipynb"))])
def test_notebooks_run(name):
    nbformat = pytest.importorskip("nbformat", reason="notebooks need nbclient and ipykernel")
    nbclient = pytest.importorskip("nbclient", reason="notebooks need nbclient and ipykernel")
    pytest.importorskip("ipykernel", reason="notebooks need nbclient and ipykernel")
    pytest.importorskip("pandas", reason="notebooks need pandas")
    notebook = nbformat.read(EXAMPLES / name, as_version=4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the packages that run notebooks
        client = nbclient.NotebookClient(
            notebook, timeout=600, resources={"metadata": {"path": str(EXAMPLES)}}
        )
        client.execute()
    assert all(cell.get("execution_count") for cell in notebook.cells if cell.cell_type == "code")


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.ipynb")), ids=lambda path: path.name)
def test_notebooks_are_small_and_hold_their_outputs(path):
    text = path.read_text(encoding="utf-8")
    assert len(text) < 200_000
    assert '"output_type": "execute_result"' in text
    assert '"output_type": "error"' not in text

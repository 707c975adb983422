"""The notebook of `examples/`: it runs, it answers its question, and the script beside it is the same."""

from __future__ import annotations

from pathlib import Path

import jupytext
import nbformat
import pytest
from nbclient import NotebookClient

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def list_cells(notebook: nbformat.NotebookNode) -> list[tuple[str, str]]:
    return [(cell.cell_type, cell.source) for cell in notebook.cells]


def test_script_and_notebook_are_the_same() -> None:
    script, notebook = jupytext.read(EXAMPLES / "notebook.py"), nbformat.read(EXAMPLES / "notebook.ipynb", 4)
    assert list_cells(script) == list_cells(notebook), "see CONTRIBUTING.md: run jupytext, then jupyter execute"


def test_notebook_is_shown_with_its_results() -> None:
    cells = [cell for cell in nbformat.read(EXAMPLES / "notebook.ipynb", 4).cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in cells)
    assert any("image/png" in output.get("data", {}) for cell in cells for output in cell.outputs)


@pytest.mark.slow
def test_notebook_answers_its_question(tmp_path: Path) -> None:
    notebook = nbformat.read(EXAMPLES / "notebook.ipynb", 4)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    printed = [output.text for cell in notebook.cells for output in cell.get("outputs", ()) if "text" in output]
    assert any(text.startswith("refuted ") for text in printed), printed
    errors = [output for cell in notebook.cells for output in cell.get("outputs", ()) if output.output_type == "error"]
    assert errors == []

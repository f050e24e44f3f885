"""The examples of the manual and the tutorial, one after another as in a notebook, and the script in examples/."""

import importlib.util
import re
import runpy
import sys

import pytest
from conftest import REPOSITORY


@pytest.mark.parametrize(
    ("document", "examples"), [("docs/python.md", 6), ("docs/tutorials/from-python.md", 3)]
)
def test_the_examples_of_the_documents_run(monkeypatch, document, examples):
    if document == "docs/python.md" and importlib.util.find_spec("jax") is None:
        pytest.skip("the first model is JAX's")
    monkeypatch.chdir(REPOSITORY)
    blocks = re.findall(r"```python\n(.*?)```", (REPOSITORY / document).read_text(), re.DOTALL)
    assert len(blocks) >= examples
    scope = {}
    for block in blocks:
        imported = re.findall(r"^import (\w+)", block, re.MULTILINE)
        if all(importlib.util.find_spec(name) is not None for name in imported):
            exec(compile(block, document, "exec"), scope)


def test_the_script_plans_acts_and_plots(monkeypatch, tmp_path, checkpoint):
    pytest.importorskip("matplotlib").use("Agg")
    script = REPOSITORY / "crates/latco-python/examples/plan_act_plot.py"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(script), str(checkpoint)])
    runpy.run_path(str(script))
    assert (tmp_path / "plan.png").stat().st_size > 1000

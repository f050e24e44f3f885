"""The examples of docs/python.md, one after another as in a notebook, and the script in examples/."""

import importlib.util
import re
import runpy
import sys

import pytest
from conftest import REPOSITORY


def test_the_examples_of_the_manual_run(monkeypatch):
    if importlib.util.find_spec("jax") is None:
        pytest.skip("the first model is JAX's")
    monkeypatch.chdir(REPOSITORY)
    blocks = re.findall(r"```python\n(.*?)```", (REPOSITORY / "docs/python.md").read_text(), re.DOTALL)
    assert len(blocks) >= 6
    scope = {}
    for block in blocks:
        imported = re.findall(r"^import (\w+)", block, re.MULTILINE)
        if all(importlib.util.find_spec(name) is not None for name in imported):
            exec(compile(block, "docs/python.md", "exec"), scope)


def test_the_script_plans_acts_and_plots(monkeypatch, tmp_path, checkpoint):
    pytest.importorskip("matplotlib").use("Agg")
    script = REPOSITORY / "crates/latco-python/examples/plan_act_plot.py"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(script), str(checkpoint)])
    runpy.run_path(str(script))
    assert (tmp_path / "plan.png").stat().st_size > 1000

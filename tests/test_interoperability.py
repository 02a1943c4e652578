"""The Python code of docs/interoperability.md runs."""

import re

import pytest
from conftest import ROOT
from test_export import random_restorer

from diracdiff.checkpoints import locations

TEXT = (ROOT / "docs" / "interoperability.md").read_text()
BLOCKS = re.findall(r"^```python test\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("code", BLOCKS)
def test_the_code_runs(code, tmp_path, monkeypatch):
    random_restorer().save_pretrained(tmp_path / "deblur")
    monkeypatch.setattr(locations, "BUNDLED", tmp_path)
    monkeypatch.chdir(tmp_path)
    assert len(code.strip().splitlines()) <= 12
    exec(compile(code, "docs/interoperability.md", "exec"), {})

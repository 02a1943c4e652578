"""The Python code of docs/interoperability.md runs, and its custom metric can be used."""

import re

import pytest
import torch
from conftest import ROOT
from hydra import compose, initialize_config_dir
from test_export import random_restorer

from diracdiff.checkpoints import locations
from diracdiff.commands.build_training import build_metrics
from diracdiff.metrics import Reference

TEXT = (ROOT / "docs" / "interoperability.md").read_text()
BLOCKS = re.findall(r"^```python test\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("code", BLOCKS)
def test_the_code_runs(code, tmp_path, monkeypatch):
    random_restorer().save_pretrained(tmp_path / "deblur")
    monkeypatch.setattr(locations, "BUNDLED", tmp_path)
    monkeypatch.chdir(tmp_path)
    assert len(code.strip().splitlines()) <= 12
    exec(compile(code, "docs/interoperability.md", "exec"), {})


def test_an_evaluation_accepts_a_custom_metric(tmp_path, make_importable):
    (tmp_path / "my_metric.py").write_text(
        "from diracdiff.metrics import ImageMetric\n\n\n"
        "class MeanError(ImageMetric):\n"
        "    name = title = 'mean_error'\n"
        "    def measure(self, images, reference):\n"
        "        return (images - reference.clean).abs().mean((1, 2, 3))\n"
    )
    make_importable()
    overrides = ["checkpoint=x", "metrics=[psnr]", "+metrics.mine._target_=my_metric.MeanError"]
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        metrics = build_metrics(compose("evaluate", overrides))
    clean = torch.zeros(2, 3, 8, 8)
    assert [metric.name for metric in metrics] == ["psnr", "mean_error"]
    assert metrics[1](clean + 0.25, Reference(clean)).tolist() == [0.25, 0.25]

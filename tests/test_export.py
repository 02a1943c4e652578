"""Exported models: safetensors, JSON and a card; the same restorer from a folder, the box and the Hub."""

import json
import shutil
from types import SimpleNamespace

import pytest
import torch
from conftest import refused, run_here
from PIL import Image

from diracdiff import load
from diracdiff.checkpoints import Checkpoint, places
from diracdiff.checkpoints.exported import model_card, write_exported
from diracdiff.checkpoints.weights import Damaged
from diracdiff.degradations import GaussianBlur, LinearSeverity
from diracdiff.models import Denoiser, NCSNpp
from diracdiff.noise import GeometricNoise
from diracdiff.process import StochasticDegradation
from diracdiff.restorer import Restorer
from diracdiff.samplers import NetworkIncrement, ReverseSampler


def restorer(increment=False):
    process = StochasticDegradation(GaussianBlur(LinearSeverity(0.3, 3.0), 16), GeometricNoise())

    def denoiser(conditions):
        torch.manual_seed(conditions)
        found = Denoiser(NCSNpp(8, [1, 2], 1, [1], 0.0, conditions=conditions), process.noise)
        for parameter in found.parameters():  # those that begin at zero, too
            torch.nn.init.normal_(parameter, 0, 0.05)
        return found

    steps = ReverseSampler(3, increment=NetworkIncrement(denoiser(2)) if increment else None)
    return Restorer(process, denoiser(1), steps, name="deblur")


@pytest.fixture
def checkpoint(tmp_path):
    restorer().save(tmp_path / "model.ckpt")
    return tmp_path / "model.ckpt"


@pytest.fixture
def exported(checkpoint, tmp_path):
    assert run_here(tmp_path, "export", "checkpoint=model.ckpt", "output=out") == 0
    return tmp_path / "out"


@pytest.mark.parametrize("increment", [False, True])
def test_an_exported_model_restores_bit_for_bit(tmp_path, increment):
    made = restorer(increment)
    write_exported(made.checkpoint(), tmp_path / "out", "card")
    y = torch.rand(2, 3, 16, 16)
    assert torch.equal(load(tmp_path / "out").restore(y, "t=0"), made.restore(y, "t=0"))


def test_half_takes_half_the_bytes(checkpoint, exported, tmp_path):
    assert run_here(tmp_path, "export", "checkpoint=model.ckpt", "output=half", "half=true") == 0
    sizes = [(folder / places.WEIGHTS).stat().st_size for folder in (tmp_path / "half", exported)]
    assert sizes[0] < 0.6 * sizes[1]
    half, whole = (Checkpoint.read(folder).weights for folder in (tmp_path / "half", exported))
    assert all(torch.allclose(half[name], whole[name], rtol=1e-3, atol=1e-7) for name in whole)
    assert all(weight.dtype != torch.float16 for weight in half.values())


def test_the_card_says_what_is_among_bundled_models(exported, tmp_path):
    (tmp_path / "about.md").write_text("## Limits\n\nNight scenes.\n")
    options = ["output=carded", "license=mit", f"about={tmp_path / 'about.md'}"]
    assert run_here(tmp_path, "export", "checkpoint=model.ckpt", *options) == 0
    card = (tmp_path / "carded" / places.CARD).read_text()
    assert card.startswith("---\nlibrary_name: diracdiff\n")
    assert "license: mit\n" in card
    assert '"_target_": "diracdiff.degradations.LinearSeverity", "start": 0.3, "end": 3.0' in card
    assert card.endswith("## Limits\n\nNight scenes.\n")


def test_the_card_of_a_model_among_bundled_models_calls_it_by_its_name_there(checkpoint, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(places, "BUNDLED", tmp_path / "box")
    assert run_here(tmp_path, "export", "checkpoint=model.ckpt", "output=box/deblur") == 0
    assert "use it as checkpoint=builtin:deblur\n" in capsys.readouterr().out
    card = (tmp_path / "box" / "deblur" / places.CARD).read_text()
    assert "checkpoint=builtin:deblur input=" in card and str(tmp_path) not in card


def test_the_command_restores_from_a_folder_and_from_the_box(exported, tmp_path, monkeypatch):
    Image.new("RGB", (20, 16), "grey").save(tmp_path / "photo.png")
    assert run_here(tmp_path, "restore", "checkpoint=out", "input=photo.png", "target=t:0", "device=cpu") == 0
    monkeypatch.setattr(places, "BUNDLED", tmp_path / "box")
    shutil.copytree(exported, tmp_path / "box" / "deblur")
    options = ["input=photo.png", "output=again", "target=t:0", "device=cpu"]
    assert run_here(tmp_path, "restore", "checkpoint=builtin:deblur", *options) == 0
    assert (tmp_path / "again" / "photo.png").read_bytes() == (tmp_path / "restored" / "photo.png").read_bytes()
    with pytest.raises(ValueError, match="builtin:blur is not a bundled model: use builtin:deblur"):
        load("builtin:blur")


def test_an_empty_box_says_how_it_is_filled(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(places, "BUNDLED", tmp_path / "box")
    assert run_here(tmp_path, "restore", "checkpoint=builtin:deblur", "input=.") == 2
    refused_with = capsys.readouterr().err
    assert refused_with.startswith("error: checkpoint=builtin:deblur: this installation has no bundled models")
    assert "make models" in refused_with


def damage(folder, how):
    if how == "bit":
        data = bytearray((folder / places.WEIGHTS).read_bytes())
        data[len(data) // 2] ^= 1
        (folder / places.WEIGHTS).write_bytes(data)
    elif how in (places.WEIGHTS, places.CONFIG):
        (folder / how).unlink()
    elif how == "torn":
        text = (folder / places.CONFIG).read_text()
        (folder / places.CONFIG).write_text(text[: len(text) // 2])
    else:
        (folder / places.CONFIG).write_text(how)


@pytest.mark.parametrize("how", ["bit", "torn", "[]", "{}", "1", places.WEIGHTS, places.CONFIG])
def test_a_damaged_folder_is_refused(exported, how):
    damage(exported, how)
    with pytest.raises(Damaged, match=r"checkpoint=.*out is (damaged|a folder without).*export it again"):
        load(exported)


def test_a_newer_one_is_refused(exported):
    content = json.loads((exported / places.CONFIG).read_text())
    content["diracdiff.restorer"]["version"] = "9.0"
    (exported / places.CONFIG).write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"written by diracdiff '9\.0'"):
        load(exported)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["half=yes"], "half must be true or false"),
        (["about=none.md"], "about=none.md does not exist"),
        (["push=name"], "push must be owner/name, got name"),
        (["checkpoint=none.ckpt"], "checkpoint=none.ckpt does not exist"),
        (["license=mit x"], "license='mit x': must be one word"),
        (["push=a/b]("], "push must be owner/name"),
        (["output=out"], "exists: give another output, or overwrite=true"),
    ],
)
def test_mistakes(exported, tmp_path, capsys, overrides, said):
    status = run_here(tmp_path, "export", "checkpoint=model.ckpt", "output=new", *overrides)
    refused((status, capsys.readouterr().err.splitlines()), said)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("half", ["true", "false"])
@pytest.mark.parametrize("output", ["out", "link", "../{name}/out"])
def test_a_model_is_not_exported_onto_itself(exported, tmp_path, capsys, half, output):
    (tmp_path / "link").symlink_to("out")
    before = {path.name: path.read_bytes() for path in exported.iterdir()}
    output = output.format(name=tmp_path.name)
    options = [f"output={output}", f"half={half}", "overwrite=true"]
    capsys.readouterr()
    status = run_here(tmp_path, "export", "checkpoint=out", *options)
    refused(
        (status, capsys.readouterr().err.splitlines()),
        f"output={output} would replace the input checkpoint=out: give another output",
    )
    assert {path.name: path.read_bytes() for path in exported.iterdir()} == before


def test_the_about_text_is_not_replaced_by_the_card(exported, tmp_path, capsys):
    options = ["checkpoint=model.ckpt", "output=out", f"about=out/{places.CARD}", "overwrite=true"]
    before = (exported / places.CARD).read_text()
    capsys.readouterr()
    status = run_here(tmp_path, "export", *options)
    refused(
        (status, capsys.readouterr().err.splitlines()),
        "output=out/README.md would replace the input about=out/README.md",
    )
    assert (exported / places.CARD).read_text() == before


def test_weights_beyond_float16_are_not_halved(tmp_path):
    made = restorer()
    made.denoiser.network.head[2].bias.data.fill_(1e6)
    with pytest.raises(ValueError, match="half=true: a weight is beyond the range of float16"):
        write_exported(made.checkpoint(), tmp_path / "out", "card", half=True)
    assert not (tmp_path / "out").exists()


def test_text_of_a_checkpoint_is_escaped_in_its_card():
    made = restorer()
    made.name = "a\n# Title <script> [x](y) _b_ `c` \x1b[31m"
    made.dataset = {"_target_": "diracdiff.data.ImageFolder", "root": "x`\n- [x](y)"}
    lines = model_card(made.checkpoint(), "a b\n```", license="mit").splitlines()
    assert r"# a # Title &lt;script> [x]\(y) _b_ \`c\` \\x1b[31m" in lines
    assert r'- trained on: `{"_target_": "diracdiff.data.ImageFolder", "root": "x?\n- [x](y)"}`' in lines
    assert "diracdiff restore 'checkpoint=a b ```' input=PHOTOGRAPHS output=restored" in lines
    assert sum(line.startswith("```") for line in lines) == 2


def test_the_hub(exported, tmp_path, monkeypatch):
    """Against a local folder in the place of the Hub: what is uploaded, and what is downloaded again."""
    import huggingface_hub

    hub = tmp_path / "hub"

    class Api:
        def create_repo(self, repository, private, exist_ok):
            assert private and exist_ok
            (hub / repository).mkdir(parents=True)

        def upload_folder(self, repo_id, folder_path, allow_patterns):
            for name in allow_patterns:
                shutil.copy(folder_path / name, hub / repo_id / name)
            return SimpleNamespace(repo_url=f"hub/{repo_id}")

    def download(repository, allow_patterns):
        if not (hub / repository).is_dir():
            raise OSError("no such repository")
        return str(hub / repository)

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert run_here(tmp_path, "export", "checkpoint=model.ckpt", "output=pushed", "push=me/deblur") == 0
    assert {path.name for path in (hub / "me/deblur").iterdir()} == {places.WEIGHTS, places.CONFIG, places.CARD}
    assert "checkpoint=hf:me/deblur" in (hub / "me/deblur" / places.CARD).read_text()
    y = torch.rand(1, 3, 16, 16)
    assert torch.equal(load("hf:me/deblur").restore(y, "t=0"), load(exported).restore(y, "t=0"))
    with pytest.raises(ValueError, match=r"hf:me/none cannot be downloaded \(no such repository\)"):
        load("hf:me/none")

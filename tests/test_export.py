"""Exported models: safetensors, JSON and model card, loaded from a folder, a bundled model and the Hub."""

import resource
import signal

import pytest
import torch
from conftest import refused, run_here
from PIL import Image
from test_checkpoints import restorer

from diracdiff import load
from diracdiff.checkpoints import Checkpoint, locations
from diracdiff.checkpoints.exported import model_card, write_exported
from diracdiff.checkpoints.locations import CARD, resolve_path
from diracdiff.checkpoints.weights import DamagedFileError
from diracdiff.models import Denoiser, NCSNpp
from diracdiff.samplers import NetworkIncrement


def random_restorer(increment=False):
    model = restorer()
    if increment:
        network = Denoiser(NCSNpp(8, [1, 2], 1, [1], 0.0, conditions=2))
        model.sampler = model.sampler.replace(increment=NetworkIncrement(network))
    for denoiser in [model.denoiser, *([network] if increment else [])]:
        for parameter in denoiser.parameters():  # including those initialised to zero
            torch.nn.init.normal_(parameter, 0, 0.05)
    return model


@pytest.fixture
def exported(tmp_path):
    random_restorer().save(tmp_path / "model.ckpt")
    assert run_here(tmp_path, "export", "checkpoint=model.ckpt", "output=out") == 0
    return tmp_path / "out"


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("increment", [False, True])
def test_an_exported_model_restores_bit_for_bit(tmp_path, increment):
    model = random_restorer(increment)
    write_exported(model.checkpoint(), tmp_path / "out", "card")
    y = torch.rand(2, 3, 16, 16)
    assert torch.equal(load(tmp_path / "out").restore(y, "t=0"), model.restore(y, "t=0"))


def test_half_precision_halves_the_file_size(exported, tmp_path):
    assert run_here(tmp_path, "export", "checkpoint=model.ckpt", "output=half", "half=true") == 0
    sizes = [(folder / locations.WEIGHTS).stat().st_size for folder in (tmp_path / "half", exported)]
    assert sizes[0] < 0.6 * sizes[1]
    half, whole = (Checkpoint.read(folder).weights for folder in (tmp_path / "half", exported))
    assert all(torch.allclose(half[name], whole[name], rtol=1e-3, atol=1e-7) for name in whole)
    assert all(weight.dtype != torch.float16 for weight in half.values())


def test_weights_beyond_float16_are_not_halved(tmp_path):
    model = restorer()
    model.denoiser.network.head[2].bias.data.fill_(1e6)
    with pytest.raises(ValueError, match="half=true: a weight is beyond the range of float16"):
        write_exported(model.checkpoint(), tmp_path / "out", "card", half=True)
    assert not (tmp_path / "out").exists()


def test_the_command_restores_from_a_folder_and_from_a_bundled_model(exported, tmp_path, monkeypatch, capsys):
    Image.new("RGB", (20, 16), "grey").save(tmp_path / "photo.png")
    options = ["input=photo.png", "target=t:0", "device=cpu"]
    assert run_here(tmp_path, "restore", "checkpoint=out", *options) == 0
    monkeypatch.setattr(locations, "BUNDLED", tmp_path / "bundled")
    with pytest.raises(ValueError, match=r"builtin:deblur: is not a bundled model. This installation has none"):
        load("builtin:deblur")
    assert run_here(tmp_path, "export", "checkpoint=model.ckpt", "output=bundled/deblur") == 0
    assert "use it as checkpoint=builtin:deblur\n" in capsys.readouterr().out
    card = (tmp_path / "bundled" / "deblur" / locations.CARD).read_text()
    assert "checkpoint=builtin:deblur input=" in card and str(tmp_path) not in card
    assert run_here(tmp_path, "restore", "checkpoint=builtin:deblur", "output=again", *options) == 0
    assert (tmp_path / "again" / "photo.png").read_bytes() == (tmp_path / "restored" / "photo.png").read_bytes()
    with pytest.raises(ValueError, match=r"builtin:blur: is not a bundled model. Use builtin:deblur"):
        load("builtin:blur")


def damage(folder, kind):
    if kind == "bit":
        data = bytearray((folder / locations.WEIGHTS).read_bytes())
        data[len(data) // 2] ^= 1
        (folder / locations.WEIGHTS).write_bytes(data)
    elif kind in (locations.WEIGHTS, locations.CONFIG):
        (folder / kind).unlink()
    else:
        text = (folder / locations.CONFIG).read_text()
        (folder / locations.CONFIG).write_text(text[: len(text) // 2] if kind == "torn" else kind)


@pytest.mark.parametrize("kind", ["bit", "torn", "[]", "{}", "1", locations.WEIGHTS, locations.CONFIG])
def test_a_damaged_folder_is_refused(tmp_path, kind):
    write_exported(restorer().checkpoint(), tmp_path / "out", "card")
    damage(tmp_path / "out", kind)
    with pytest.raises(DamagedFileError, match=r"checkpoint=.*out: is (damaged|a folder without).*Export it again"):
        load(tmp_path / "out")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["half=yes"], "half"),
        (["about=none.md"], "none.md"),
        (["checkpoint=none.ckpt"], "checkpoint=none.ckpt: does not exist"),
        (["output=out"], ": exists. Give another output, or if_exists=overwrite"),
    ],
)
def test_errors(exported, tmp_path, capsys, overrides, message):
    capsys.readouterr()
    status = run_here(tmp_path, "export", "checkpoint=model.ckpt", "output=new", *overrides)
    refused((status, capsys.readouterr().err.splitlines()), message)
    assert not (tmp_path / "new").exists()


def test_input_files_are_not_replaced(exported, tmp_path, capsys):
    (tmp_path / "link").symlink_to("out")
    before = content(exported)
    for options in (
        ["checkpoint=out", "output=out"],
        ["checkpoint=out", "output=link", "half=true"],
        ["checkpoint=out", f"output=../{tmp_path.name}/out"],
        ["checkpoint=model.ckpt", "output=out", f"about=out/{locations.CARD}"],
    ):
        capsys.readouterr()
        status = run_here(tmp_path, "export", *options, "if_exists=overwrite")
        refused((status, capsys.readouterr().err.splitlines()), "would replace the input ")
    assert content(exported) == before


def test_an_export_to_a_full_disk_keeps_the_existing_model(exported, tmp_path, capsys):
    before, limit = content(exported), resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    for output in ("out", "new"):
        capsys.readouterr()
        resource.setrlimit(resource.RLIMIT_FSIZE, (4000, limit[1]))
        try:
            status = run_here(tmp_path, "export", "checkpoint=model.ckpt", f"output={output}", "if_exists=overwrite")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        lines = capsys.readouterr().err.splitlines()
        refused((status, lines), r"cannot be written \(File too large\); existing files are unchanged")
    signal.signal(signal.SIGXFSZ, handler)
    assert content(exported) == before and not content(tmp_path / "new")


def test_the_card_has_the_escaped_recipe_the_license_and_additional_text():
    model = restorer()
    model.name = "a\n# Title <script> [x](y) _b_ `c` \x1b[31m"
    model.dataset = {"_target_": "diracdiff.data.ImageFolder", "root": "x`\n- [x](y)"}
    text = model_card(model.checkpoint(), "a b\n```", "mit", "## Limits\n\nNight scenes.\n")
    assert text.startswith("---\nlibrary_name: diracdiff\n") and "license: mit\n" in text
    assert '"_target_": "diracdiff.degradations.GaussianBlur"' in text and text.endswith("\n\nNight scenes.\n")
    lines = text.splitlines()
    assert r"# a # Title &lt;script> [x]\(y) _b_ \`c\` \\x1b[31m" in lines
    assert r'- trained on: `{"_target_": "diracdiff.data.ImageFolder", "root": "x?\n- [x](y)"}`' in lines
    assert r"    diracdiff restore 'checkpoint=a b\n```' input=PHOTOGRAPHS output=restored" in lines


def test_the_command_of_a_bundled_card_has_the_kernel():
    card = (resolve_path("builtin:deblur") / CARD).read_text()
    about = card[card.index("## Data") :]
    assert "restore checkpoint=builtin:deblur kernel=gaussian:1.5 input=PHOTOGRAPHS" in card
    assert model_card(Checkpoint.read("builtin:deblur"), "builtin:deblur", "mit", about) == card

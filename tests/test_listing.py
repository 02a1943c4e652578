"""Which images a folder holds, from the disk and from the cache."""

import os
import subprocess
import sys
import time

import pytest
from test_data import write_images

from diracdiff.data import ImageFolder, listing
from diracdiff.data.listing import Names, image_names, list_images


@pytest.fixture
def cached(tmp_path, monkeypatch):
    """A folder that was left alone for long enough, and the place of the caches."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(listing, "WORTH_CACHING", 3)
    root = write_images(tmp_path / "data", ["b/2.png", "b/10.jpg", "a.PNG", "c/d/e.jpeg"])
    settle(root)
    return root, tmp_path / "cache" / "diracdiff" / "listings"


def settle(root, seconds=100):
    for folder in (root, *(path for path in root.rglob("*") if path.is_dir())):
        os.utime(folder, (time.time() - seconds,) * 2)


@pytest.fixture
def walks(monkeypatch):
    """How often the disk was walked."""
    calls, walk = [], os.walk
    monkeypatch.setattr(os, "walk", lambda *a, **k: calls.append(a) or walk(*a, **k))
    return calls


NAMES = ["a.PNG", "b/10.jpg", "b/2.png", "c/d/e.jpeg"]


def test_a_second_look_reads_the_cache(cached, walks):
    root, place = cached
    assert image_names(root) == image_names(root) == NAMES and len(walks) == 1
    assert [path.relative_to(root).as_posix() for path in list_images(root)] == NAMES
    assert image_names(root, "b") == ["b/10.jpg", "b/2.png"]  # two are not worth it
    assert len(list(place.iterdir())) == 1
    assert list(ImageFolder(root).split("train").names) == sorted(ImageFolder(root).split("train").names)


@pytest.mark.parametrize("change", ["added", "added below", "removed", "renamed", "new folder", "other folder"])
def test_a_change_of_the_folder_is_seen(cached, walks, change):
    root, _ = cached
    image_names(root)
    if change == "added":
        write_images(root, ["f.png"])
    elif change == "added below":
        write_images(root, ["c/d/f.png"])
    elif change == "removed":
        (root / "b/2.png").unlink()
    elif change == "renamed":
        (root / "a.PNG").rename(root / "z.png")
    elif change == "new folder":
        write_images(root, ["new/f.png"])
    else:
        root.rename(root.with_name("moved"))
        write_images(root, ["other.png"])
    expected = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.*"))
    assert image_names(root) == expected != NAMES and len(walks) == 2


def test_a_folder_that_may_still_be_changing_is_not_cached(cached):
    root, place = cached
    os.utime(root / "b")
    assert image_names(root) == NAMES and not place.exists()


DAMAGE = {
    "empty": lambda data: b"",
    "cut": lambda data: data[:-4],
    "no header": lambda data: data.partition(b"\n")[2],
    "a bit of a name": lambda data: data[:-1] + bytes([data[-1] ^ 1]),
    "a name less": lambda data: data.rpartition(b"\0")[0],
    "no mapping": lambda data: b"[]\n" + data.partition(b"\n")[2],
    "times of another kind": lambda data: data.replace(b'"times": {', b'"times": 3, "x": {'),
    "no checksum": lambda data: data.replace(b"sha256", b"sha257"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_cache_is_made_anew_and_said(cached, capsys, kind):
    root, place = cached
    image_names(root)
    (cache,) = place.iterdir()
    whole = cache.read_bytes()
    cache.write_bytes(DAMAGE[kind](whole))
    assert image_names(root) == NAMES
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "is damaged: it is made anew" in said
    assert cache.read_bytes() == whole and image_names(root) == NAMES and not capsys.readouterr().err


def test_every_flipped_bit_of_a_cache_leaves_the_names_right(cached):
    root, place = cached
    image_names(root)
    (cache,) = place.iterdir()
    whole = cache.read_bytes()
    for bit in range(0, 8 * len(whole), 5):
        cache.write_bytes(whole[: bit // 8] + bytes([whole[bit // 8] ^ 1 << bit % 8]) + whole[bit // 8 + 1 :])
        assert image_names(root) == NAMES, bit


def test_no_place_for_a_cache_is_no_failure(cached, monkeypatch):
    root, place = cached
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
    assert image_names(root) == NAMES
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pathlib.Path.home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    assert image_names(root) == NAMES and not place.exists()


def test_the_cache_serves_other_processes(cached):
    """From another working folder and through a link."""
    root, _ = cached
    image_names(root)
    (root.parent / "link").symlink_to(root)
    code = "import sys; from diracdiff.data import listing as l; l.os.walk = None; print(l.image_names(sys.argv[1]))"
    for name in ("data", "link"):
        done = subprocess.run([sys.executable, "-c", code, name], cwd=root.parent, capture_output=True, text=True)
        assert done.stdout.strip() == str(NAMES), done.stderr


def test_names_are_a_sequence(tmp_path):
    strange = ["a", "", "ü/\n", os.fsdecode(b"\xff"), "b" * 300]
    names = Names(strange)
    assert list(names) == strange == names[:] and names == strange and len(names) == 5 and names[-1] == strange[-1]
    assert names[1:3] == strange[1:3] and names != strange[:4] and Names() == [] and "a" in names
    with pytest.raises(IndexError):
        names[5]

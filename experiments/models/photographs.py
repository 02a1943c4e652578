"""Collect the photographs for training the bundled models in one folder with train, val and test.

`photographs.csv` lists usable files of scikit-image and of the Debian package lomiri-wallpapers-16.04. Their licences
are CC BY, CC0, public domain or no known restrictions. Each photograph is downscaled to several sizes, so that crops of
64 pixels have detail, and cut into squares. Photographs of flower_photos (CC BY 2.0) are small and copied unchanged.
"""

import shutil
from importlib.util import find_spec
from pathlib import Path

from PIL import Image

from diracdiff.utils.files import read_rows

LIST = Path(__file__).with_name("photographs.csv")
SIDES = {"train": (1024, 512, 256), "val": (512, 256), "test": (400, 256)}
"""Lengths in pixels of the shorter side of downscaled photographs."""

SQUARE = 256
"""Side of the squares in pixels."""

STRIDE = {"train": 128, "val": 256, "test": 256}
"""Distance of squares in pixels. Training squares overlap, so that a few large photographs balance many small ones."""

FLOWERS = {"train": None, "val": 40, "test": 40}
"""Number of photographs of flower_photos in each split, evenly spread; None: all."""


def collect(folder: Path, flowers: Path | None, wallpapers: Path | None) -> list[str]:
    """Fill a folder with photographs, unless it exists.

    Args:
        folder: folder for train, val and test. File names begin with the source.
        flowers: folder of flower_photos with train, val and test; None: not used.
        wallpapers: folder of the wallpapers; None: not used.

    Returns:
        The credits, one line for each source.

    Raises:
        FileNotFoundError: if a file of the list is missing.
    """
    package = find_spec("skimage")
    assert package is not None and package.origin is not None
    roots = {"scikit-image": Path(package.origin).parent / "data", "lomiri-wallpapers-16.04": wallpapers}
    rows = [row for row in read_rows(LIST, {}) if roots[row["source"]] is not None]
    if not folder.exists():
        staging = folder.with_name(f"{folder.name}.part")
        shutil.rmtree(staging, ignore_errors=True)
        for split in SIDES:
            (staging / split).mkdir(parents=True)
        for row in rows:
            _cut(Path(str(roots[row["source"]])) / row["file"], staging / row["split"], row["source"])
        for split, count in FLOWERS.items() if flowers else []:
            files = sorted((Path(str(flowers)) / split).glob("*.jpg"))
            for file in files[:: max(1, len(files) // count) if count else 1][:count]:
                shutil.copyfile(file, staging / split / f"flowers-{file.name}")
        staging.rename(folder)
    credits = [f"{row['file'].split('.')[0]} ({row['author']}, {row['licence']})" for row in rows]
    sources = {source: [c for c, row in zip(credits, rows, strict=True) if row["source"] == source] for source in roots}
    lines = [f"{source}: {', '.join(files)}." for source, files in sources.items() if files]
    if flowers:
        lines.append("flower_photos of TensorFlow: CC BY 2.0, the photographers are named in its LICENSE.txt.")
    return lines


def _cut(path: Path, folder: Path, source: str) -> None:
    """Downscale a photograph to several sizes, and write squares of each as PNG."""
    image, split = Image.open(path).convert("RGB"), folder.name
    for side in (side for side in SIDES[split] if side <= min(image.size)):
        scale = side / min(image.size)
        sides = [max(SQUARE, round(scale * length)) for length in image.size]
        small = image.resize(sides, Image.Resampling.BICUBIC, reducing_gap=3.0)
        for top in range(0, sides[1] - SQUARE + 1, STRIDE[split]):
            for left in range(0, sides[0] - SQUARE + 1, STRIDE[split]):
                square = small.crop((left, top, left + SQUARE, top + SQUARE))
                square.save(folder / f"{source}-{path.stem}-{side}-{left}-{top}.png")

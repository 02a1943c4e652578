"""Images of the user's that are to be restored: where their results go, and which of them make a batch."""

import mimetypes
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from diracdiff.data.images import ImageError
from diracdiff.data.listing import EXTENSIONS, list_images
from diracdiff.data.originals import Header, read_header
from diracdiff.errors import UserError, say, warn
from diracdiff.storage.files import check_output
from diracdiff.storage.json_lines import read_lines
from diracdiff.storage.pictures import SUFFIXES


@dataclass(frozen=True)
class Input:
    """An image file.

    Attributes:
        path: of the file.
        size: width and height in pixels as shown, after the EXIF rotation.
        grey: whether it has no colour.
        targets: where its results go: "restored", and the extra pictures by their names.
        bits: of a value of the results, 8 or 16.
        lossy: whether the file was compressed with losses.
    """

    path: Path
    size: tuple[int, int]
    grey: bool
    targets: dict[str, Path]
    bits: int = 8
    lossy: bool = False


@dataclass(frozen=True)
class Form:
    """In what form results are written.

    Attributes:
        format: "png", "jpg", "tiff", or "auto": TIFF for a TIFF and PNG for the rest.
        bits: 8 or 16 of a value; None: as many as the file has, and 8 in a JPEG.
    """

    format: str = "auto"
    bits: int | None = None

    def suffix(self, header: Header) -> str:
        """Of the result's name."""
        format = ("tiff" if header.format == "TIFF" else "png") if self.format == "auto" else self.format
        return SUFFIXES[format]

    def bits_of(self, header: Header) -> int:
        """Of a value of the result."""
        return self.bits or (8 if self.format == "jpg" else header.bits)


EXISTING = ("refuse", "skip", "replace")
"""What to do with results that exist: refuse the command, leave them and restore the other images, or replace them."""

PIXELS = 2**21
"""Of the images of a batch, together, at most."""

IN_FORM = ("restored", "mean")
"""Results that take the form that is asked for; the others are measured values, and PNG."""

LINES = "restored.jsonl"
"""The file of an output folder that has a line for every restored image."""


def plan(
    source: Path,
    output: Path,
    extras: list[str],
    existing: str,
    done: Callable[[Path], bool] = lambda path: True,
    form: Form = Form(),
) -> tuple[list[Input], dict[Path, str]]:
    """Find the images below a folder, or one image, and where the results of each go.

    Left out of a folder, and named, are the results of earlier commands that restored images of the same folder, and
    images of formats that are not restored. Of an animation the first frame counts, which is said.

    Args:
        source: an image or a folder of images.
        output: a folder.
        extras: names of pictures besides "restored".
        existing: one of EXISTING.
        done: whether an image whose results exist is done, with "skip".
        form: in which results are written.

    Returns:
        The images that are to be restored, and {file: why it cannot be}.

    Raises:
        UserError: if there are no images, the only one cannot be read, or a result would replace something.
    """
    if not source.exists():
        raise UserError(f"input={source} does not exist: give an image, or a folder of images")
    files = [source] if source.is_file() else _originals(source, output)
    root = source.parent if source.is_file() else source
    stems = Counter(file.relative_to(root).with_suffix("") for file in files)
    inputs, unreadable, animated = [], {}, []
    for file in files:
        relative = file.relative_to(root)
        name = relative if stems[relative.with_suffix("")] > 1 else relative.with_suffix("")
        try:
            header = read_header(file)
            if header.alpha and form.format == "jpg":
                raise ImageError(f"{file} is transparent, which a JPEG cannot be: give format=png")
        except UserError as error:
            if source.is_file():
                raise
            unreadable[file] = str(error)
            continue
        animated += [file] if header.frames > 1 else []
        suffix = form.suffix(header)
        targets = {
            extra: output
            / f"{name}{'' if extra == 'restored' else f'_{extra}'}{suffix if extra in IN_FORM else '.png'}"
            for extra in ("restored", *extras)
        }
        inputs.append(Input(file, header.size, header.grey, targets, form.bits_of(header), header.lossy))
    results = Counter(target for image in inputs for target in image.targets.values())
    results.update([output / "uncertainty.csv"] if "uncertainty" in extras else [])
    twice = [target for target, count in results.items() if count > 1]
    if twice:
        raise UserError(f"two results would be called {twice[0]}: rename one of the inputs that give it")
    replaced = {file.resolve() for file in files} & {target.resolve() for target in results}
    if replaced:
        raise UserError(f"output={output} would replace the input {min(replaced)}: give another folder")
    check_output(output, results, existing != "refuse")
    if existing == "skip":
        inputs = [i for i in inputs if not (all(t.is_file() for t in i.targets.values()) and done(i.path))]
    if animated:
        warn(f"only the first frame is restored of {listed(animated)}")
    return inputs, unreadable


def listed(paths: Iterable[Path], most: int = 3) -> str:
    """Files in words: the names of some, and how many more there are."""
    names = [path.name for path in paths]
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def batches(inputs: list[Input], size: int) -> list[list[Input]]:
    """Batches of at most `size` images of the same width and height, and of one image or at most PIXELS."""
    found = []
    ordered = sorted(inputs, key=lambda image: (image.size, str(image.path)))
    for (width, height), group in groupby(ordered, key=lambda image: image.size):
        same, most = list(group), max(1, min(size, PIXELS // (width * height)))
        found += [same[i : i + most] for i in range(0, len(same), most)]
    return found


def _originals(root: Path, output: Path) -> list[Path]:
    """The images below a folder that are not results of earlier commands."""
    files = list_images(root)
    whole, home = root.expanduser().resolve(), output.resolve()
    within = home != whole and home.is_relative_to(whole)
    folders = {folder for file in files for folder in file.parents if folder.is_relative_to(root)}
    results = {
        (folder / name).resolve()
        for folder in folders
        for row in read_lines(folder / LINES)
        if Path(str(row.get("path"))).is_relative_to(whole)
        for name in row.get("files", [])
    }
    made = [f for f in files if f.resolve() in results or (within and f.resolve().is_relative_to(home))]
    if made:
        say(f"left out: {listed(made)}, results of earlier commands")
        files = [file for file in files if file not in set(made)]
        if not files:
            raise UserError(
                f"input={root} holds results of earlier commands alone: give single images, or another folder"
            )
    others = [
        path
        for path in sorted(root.rglob("*"))
        if (mimetypes.guess_type(path.name)[0] or "").startswith("image/")
        and path.suffix.lower() not in EXTENSIONS
        and not any(part.startswith(".") for part in path.relative_to(root).parts)
    ]
    if others:
        remedy = "give a GIF by itself, for its first frame, and save the rest as PNG"
        warn(f"not restored, because a folder is searched for {' '.join(EXTENSIONS)} alone: {listed(others)}: {remedy}")
    return files

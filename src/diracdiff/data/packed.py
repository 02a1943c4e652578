"""Packed data sets: every image of a split in one file, as it is served, made by `python -m diracdiff pack`.

A folder that holds

- `train.npy`, `val.npy`, `test.npy`: uint8 (N, 3, S, S), which `numpy.load(…, mmap_mode="r")` maps into memory;
- `index.json`: names and CRC-32 of the images, what they were made from, and a SHA-256 of all that. It is written last.

Opening one checks the index against its SHA-256, and size and header of the array against the index; `verify` also
checks every image. Images are read where they lie by their place in the file, which shares the system's cache of files
as a map into memory does, but meets a file that another program shortens with an error instead of a dead process, and
lets no pages count as this process's memory.
"""

import hashlib
import json
import os
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diracdiff.data.datasets import SPLITS, Item, StillImages, check_boolean, check_integer, check_split
from diracdiff.data.images import ImageError
from diracdiff.data.listing import Names, check_given, check_root
from diracdiff.data.sampler import Key, epoch_and_index
from diracdiff.utils.errors import UserError

INDEX = "index.json"
VERSION = 1
AGAIN = "make it anew with `python -m diracdiff pack … overwrite=true`"


def header(count: int, size: int) -> bytes:
    """What a file of `count` images of `size` pixels a side begins with."""
    stream = BytesIO()
    described = {"descr": "|u1", "fortran_order": False, "shape": (count, 3, size, size)}
    np.lib.format.write_array_header_1_0(stream, described)
    return stream.getvalue()


def checksum(content: dict[str, Any]) -> str:
    """SHA-256 of an index, but for the checksum in it."""
    kept = {key: value for key, value in content.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


def read_index(root: Path) -> dict[str, Any]:
    """The index of a packed set.

    Raises:
        UserError: if there is none, or it is damaged or of another version.
    """
    path = root / INDEX
    try:
        content = json.loads(path.read_bytes())
        if not isinstance(content, dict) or content.get("sha256") != checksum(content):
            raise ValueError("its checksum differs")
    except FileNotFoundError:
        begun = any((root / f"{split}.npy").exists() for split in SPLITS)
        fault = "is not finished: go on with the same `python -m diracdiff pack …`" if begun else "is no packed set"
        raise UserError(f"dataset.root={root} {fault}, which ends by writing {INDEX}") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): check its permissions") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged ({' '.join(str(error).split())}): {AGAIN}") from error
    if content.get("version") != VERSION:
        raise UserError(f"{path} is of version {content.get('version')}, not {VERSION}: {AGAIN}")
    return content


class Packed:
    """A packed set: what `python -m diracdiff pack` made of a folder of images.

    Validation and test images are those of the folder, bit for bit; training images are those that its Pillow decoder
    gives, mirrored likewise.

    Args:
        root: folder of the set.
        image_size: side in pixels, which must be that of the set.
        seed: of the mirroring.
        flip: mirror half of the training images.
        verify: check every image's checksum when a split is opened.

    Raises:
        UserError: if an argument breaks its rule.
    """

    def __init__(
        self,
        root: str | Path | None,
        image_size: int = 256,
        seed: int = 0,
        flip: bool = True,
        verify: bool = False,
    ):
        self.root = check_given(root, "the folder of a packed set", "/path/to/packed")
        check_integer("dataset.image_size", image_size, 1, 256)
        check_integer("dataset.seed", seed, 0, 0)
        check_boolean("dataset.flip", flip)
        check_boolean("dataset.verify", verify)
        self.image_size, self.seed, self.flip, self.verify = image_size, seed, flip, verify

    def split(self, name: str) -> "PackedImages":
        """The data set `name`: train, val or test. Raises UserError where it is missing or damaged."""
        check_split(name)
        root = check_root(self.root)
        content = read_index(root)
        if content["image_size"] != self.image_size:
            raise UserError(
                f"{root} holds images of {content['image_size']} px, not dataset.image_size={self.image_size}: set"
                f" dataset.image_size={content['image_size']}, or pack the images anew"
            )
        if name not in content["splits"]:
            raise UserError(
                f"{root} holds no images to {name} with, only {', '.join(content['splits'])}: pack the images anew"
                f" with splits=[{','.join(SPLITS)}]"
            )
        entry = content["splits"][name]
        flip_seed = self.seed if self.flip and name == "train" else None
        images = PackedImages(root / f"{name}.npy", entry["names"], entry["crc32"], self.image_size, flip_seed)
        if self.verify:
            images.verify()
        return images


class PackedImages(StillImages):
    """The images of a split of a packed set.

    Args:
        path: of the array.
        names: of the images.
        checksums: their CRC-32.
        image_size: side in pixels.
        flip_seed: see `StillImages`.

    Raises:
        UserError: if the array is not what the names say.
    """

    def __init__(self, path: Path, names: list[str], checksums: list[int], image_size: int, flip_seed: int | None):
        self.path, self.image_size, self.flip_seed = path, image_size, flip_seed
        self.names, self.checksums = Names(names), np.array(checksums, dtype=np.uint32)
        self._header = header(len(names), image_size)
        self._bytes = 3 * image_size * image_size
        self._file: int | None = None
        size, expected = os.fstat(self._opened()).st_size, len(self._header) + len(names) * self._bytes
        if size != expected:
            raise UserError(f"{path} has {size} bytes, but must have {expected}: {AGAIN}")
        found = np.empty(len(self._header), np.uint8)
        self._read(found, 0)
        if found.tobytes() != self._header:
            raise UserError(f"{path} does not begin as its {INDEX} says: {AGAIN}")

    def pixels(self, index: int) -> Tensor:
        flat = np.empty(self._bytes, np.uint8)
        self.read_into(flat, index)
        return torch.from_numpy(flat).view(3, self.image_size, self.image_size)

    def read_into(self, place: NDArray[np.uint8], index: int) -> None:
        """Read an image into 3 S^2 bytes. Raises UserError if the file cannot be read to there."""
        self._read(place, len(self._header) + range(len(self))[index] * self._bytes)

    def fingerprint(self) -> dict[str, Any]:
        digest = hashlib.sha256("\0".join(self.names).encode("utf-8", "surrogateescape") + self.checksums.tobytes())
        return {"count": len(self), "sha256": digest.hexdigest()}

    def for_training(self) -> "PackedTraining":
        return PackedTraining(self)

    def verify(self) -> None:
        """Check every image. Raises UserError, naming the first one that is damaged."""
        for index, expected in enumerate(self.checksums.tolist()):
            if zlib.crc32(self.pixels(index).numpy().data) != expected:
                raise UserError(f"{self.path}: the image {self.names[index]} is damaged: {AGAIN}")

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_file": None}  # every process opens the file for itself

    def __del__(self) -> None:
        if getattr(self, "_file", None) is not None:
            os.close(self._file)  # type: ignore[arg-type]

    def _opened(self) -> int:
        if self._file is None:
            try:
                self._file = os.open(self.path, os.O_RDONLY)
            except OSError as error:
                raise ImageError(f"{self.path} cannot be read ({error.strerror}): {AGAIN}") from error
        return self._file

    def _read(self, place: NDArray[np.uint8], start: int) -> None:
        try:
            got = os.preadv(self._opened(), [place.data], start)
        except OSError as error:
            raise ImageError(f"{self.path} cannot be read ({error.strerror}): check the disk") from error
        if got != len(place):
            raise ImageError(f"{self.path} ends before byte {start + len(place)}: {AGAIN}")


class PackedTraining(StillImages):
    """Packed images as a training reads them: uint8, and a batch at once, into the place where it stays."""

    def __init__(self, images: PackedImages):
        self.images, self.names = images, images.names
        self.image_size, self.flip_seed = images.image_size, images.flip_seed

    def pixels(self, index: int) -> Tensor:
        return self.images.pixels(index)

    def __getitem__(self, key: Key) -> Item:
        epoch, index = epoch_and_index(key)
        return {"x": self.mirrored(self.pixels(index), epoch, index), "name": self.names[index], "index": index}

    def __getitems__(self, keys: list[Key]) -> Item:
        """The batch of these keys, collated."""
        x = torch.empty(len(keys), 3, self.image_size, self.image_size, dtype=torch.uint8)
        places, indices = x.view(len(keys), -1).numpy(), []
        for row, place, key in zip(x, places, keys, strict=True):
            epoch, index = epoch_and_index(key)
            self.images.read_into(place, index)
            mirrored = self.mirrored(row, epoch, index)
            if mirrored is not row:
                row.copy_(mirrored)
            indices.append(index)
        return {"x": x, "name": [self.names[index] for index in indices], "index": torch.tensor(indices)}

"""Restoration of images and of files, see `diracdiff.restoration.service` and `diracdiff.restoration.files`."""

from diracdiff.restoration.consistency import ConsistencyTest, NoiseLevel, concern_of
from diracdiff.restoration.files import FileRestoration
from diracdiff.restoration.service import (
    Batch,
    RestoredImage,
    RestoreOptions,
    SourceImage,
    check_guide,
    guide_of,
    prepare,
)

__all__ = [
    "Batch",
    "ConsistencyTest",
    "FileRestoration",
    "NoiseLevel",
    "RestoreOptions",
    "RestoredImage",
    "SourceImage",
    "check_guide",
    "concern_of",
    "guide_of",
    "prepare",
]

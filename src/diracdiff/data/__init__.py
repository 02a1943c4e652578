"""Data sets of clean images for training and evaluation."""

from diracdiff.data.folders import FFHQ, CelebAHQ, ImageFolder, ImageNet
from diracdiff.data.huggingface import HuggingFace
from diracdiff.data.images import center_crop_resize, load_image
from diracdiff.data.photos import Photos
from diracdiff.data.sampler import ShardSampler

__all__ = [
    "FFHQ",
    "CelebAHQ",
    "HuggingFace",
    "ImageFolder",
    "ImageNet",
    "Photos",
    "ShardSampler",
    "center_crop_resize",
    "load_image",
]

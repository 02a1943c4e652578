"""Images to train and evaluate on: clean, and without physics."""

from diracdiff.data.folders import FFHQ, CelebAHQ, ImageFolder, ImageNet
from diracdiff.data.images import center_crop_resize, load_image
from diracdiff.data.listing import list_images
from diracdiff.data.packed import Packed
from diracdiff.data.photos import Photos
from diracdiff.data.sampler import ShardSampler

__all__ = [
    "FFHQ",
    "CelebAHQ",
    "ImageFolder",
    "ImageNet",
    "Packed",
    "Photos",
    "ShardSampler",
    "center_crop_resize",
    "list_images",
    "load_image",
]

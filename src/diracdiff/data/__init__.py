"""Images to train and evaluate on. The LightningDataModule is in `diracdiff.data.datamodule`, not imported here."""

from diracdiff.data.folders import FFHQ, CelebAHQ, ImageFolder, ImageNet
from diracdiff.data.images import center_crop_resize, list_images, load_image
from diracdiff.data.photos import Photos
from diracdiff.data.sampler import ShardSampler

__all__ = [
    "FFHQ",
    "CelebAHQ",
    "ImageFolder",
    "ImageNet",
    "Photos",
    "ShardSampler",
    "center_crop_resize",
    "list_images",
    "load_image",
]

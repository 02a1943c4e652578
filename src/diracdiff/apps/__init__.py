"""Applications: restoration of files, and the demo on top of the same service."""

from diracdiff.apps.service import GUIDES, Batch, Guide, Restored, RestoreOptions, SourceImage, check_guide, prepare

__all__ = ["GUIDES", "Batch", "Guide", "RestoreOptions", "Restored", "SourceImage", "check_guide", "prepare"]

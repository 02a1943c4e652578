"""Helpers that know nothing of images: errors, validation, seeds, files."""

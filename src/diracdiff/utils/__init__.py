"""Utilities: messages, argument checks, files, image files, seeds and shapes."""

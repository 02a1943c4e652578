"""Helpers: messages, checks of arguments, files, image files, seeds and shapes."""

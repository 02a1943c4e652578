"""A page to try models on photographs, served on this machine alone."""

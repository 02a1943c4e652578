"""A fair table: every method restores the same measurements, tuned with the same budget, measured by the same rule."""

"""The only place that turns configuration into objects. Restoring needs no Lightning, so nothing is imported here."""

"""Adapters for other libraries, one module each. A module needs its library only when it is imported."""

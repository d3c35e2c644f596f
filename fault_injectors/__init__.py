"""Fault injectors: one file a family, one class a fault. Begin with `noop.py`."""

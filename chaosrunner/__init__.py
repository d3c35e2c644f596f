"""chaosrunner: break a system on purpose, under load, and measure how fast it heals."""

__version__ = "0.1.0"

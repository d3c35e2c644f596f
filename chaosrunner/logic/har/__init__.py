"""A HAR file (a browser's recording, HTTP Archive 1.2) → an experiment to start from."""

from chaosrunner.logic.har.experiment import Imported, Wishes, import_har

__all__ = ["Imported", "Wishes", "import_har"]

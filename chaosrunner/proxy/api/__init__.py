"""The control API over HTTP: its calls, who may make them, its document and its metrics."""

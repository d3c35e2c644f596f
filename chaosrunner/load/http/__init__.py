"""HTTP: connections, their pools, and steps that are requests."""

"""The kinds of toxics that act on single Postgres statements; for proxies whose `protocol` is postgres."""

"""The kinds of toxics that act on single HTTP requests; for proxies whose `protocol` is http."""

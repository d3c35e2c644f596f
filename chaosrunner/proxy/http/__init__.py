"""The HTTP dialect: toxics that act on single requests, and what it takes to see them in a stream of bytes."""

"""The Postgres dialect: toxics that act on single statements, and what it takes to see them in a stream of messages."""

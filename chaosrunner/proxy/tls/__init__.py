"""TLS on either side of a connection, or on both."""

"""WebSocket: sockets that journeys hold, and everything that is measured on them."""

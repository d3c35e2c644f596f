"""What follows: pure functions. Same input, same output; no clock, no chance, no I/O, no logging."""

"""What many runs say together: where a system stops holding, how long it takes to recover, and what differs."""

"""What touches: everything that can wait, fail or hurt. Whatever lives here has a fake in `chaosrunner.testing`."""

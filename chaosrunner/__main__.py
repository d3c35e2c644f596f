"""`python -m chaosrunner`."""

from chaosrunner.cli import main

main()

"""`python -m chaosrunner.proxy`."""

import sys

from chaosrunner.proxy import main

if __name__ == "__main__":
    sys.exit(main())

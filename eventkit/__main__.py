"""`python -m eventkit` is the command `eventkit`."""

import sys

from eventkit.cli import main

if __name__ == "__main__":
    sys.exit(main())

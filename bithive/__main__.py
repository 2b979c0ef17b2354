"""`python -m bithive`."""

import sys

from bithive.cli import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

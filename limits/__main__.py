"""Let ``python -m limits`` do what the command ``limits`` does."""

import sys

from limits.cli import main

if __name__ == "__main__":
    sys.exit(main())

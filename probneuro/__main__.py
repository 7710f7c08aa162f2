"""`python -m probneuro` is the command line."""

import sys

from probneuro.cli import main

if __name__ == "__main__":
    sys.exit(main())

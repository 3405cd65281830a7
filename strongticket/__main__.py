"""`python -m strongticket` is the command `strongticket`."""

import sys

from strongticket.cli import main

if __name__ == "__main__":
    sys.exit(main())

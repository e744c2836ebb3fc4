"""`python -m cfe_stack` does what `cfe-stack` does."""

import sys

from cfe_stack.cli.main import main

if __name__ == "__main__":
    sys.exit(main())

"""`python -m anygen` is the command `anygen`."""

import sys

from anygen.cli import main

sys.exit(main())

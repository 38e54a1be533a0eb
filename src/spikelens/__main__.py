"""`python -m spikelens` is the command `spikelens`."""

import sys

from spikelens.cli import main

sys.exit(main())

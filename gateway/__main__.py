"""`python -m gateway` is `axgate`."""

import sys

from gateway.cli import main

sys.exit(main())

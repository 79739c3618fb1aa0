"""``python -m tezos_p2p.io.cli`` is the ``tezos-p2p`` command."""

import sys

from .start import main

if __name__ == "__main__":
    sys.exit(main())

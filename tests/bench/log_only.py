"""peerd as it was before it could begin with a snapshot: it takes the log, however much that is. For measuring the log.

python -m tests.bench.log_only --config FILE
"""

from __future__ import annotations

import sys
from functools import partialmethod

from peerd.__main__ import main
from peerd.protocol.wanting import Wanting

if __name__ == "__main__":
    Wanting.again = partialmethod(Wanting.again, either=False)  # type: ignore[assignment] # what is overridden
    sys.exit(main())

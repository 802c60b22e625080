"""``python -m verax``: the same as the ``verax`` command."""

from __future__ import annotations

import sys

from verax.cli import main

__all__: list[str] = []

if __name__ == "__main__":
    sys.exit(main())

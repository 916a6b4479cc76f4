"""``python -m fengsui`` is the ``fengsui`` command."""

from __future__ import annotations

import sys

from fengsui.command import main

sys.exit(main())

"""Import paths of the store's tests; the modules ``store_*`` beside this file are their harness."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

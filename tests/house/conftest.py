"""Makes the helpers of the house tests importable from whatever folder pytest runs in."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

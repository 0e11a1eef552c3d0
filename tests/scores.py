"""scoringrules by numpy: with numba it compiles code of its own at import, longer than it is used."""

import sys

import numba

sys.modules["numba"] = None  # type: ignore[assignment]
try:
    import scoringrules
finally:
    sys.modules["numba"] = numba

__all__ = ["scoringrules"]

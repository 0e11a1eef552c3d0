"""Questions that continuous time can answer: rates, integrals, first crossings, along sample paths."""

__all__: list[str] = []

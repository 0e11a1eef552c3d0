"""Vector fields: one idea per module, each a `Dynamics`, rows independent of one another."""

__all__ = []

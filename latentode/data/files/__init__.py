"""Files to frames and back: where they are, how text is laid out, and writing in one step.

Third of the three folders in which a table is read; it imports from `tables` and `cells`.
"""

__all__: list[str] = []

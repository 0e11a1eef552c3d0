"""What cells say: numbers and times as people write them, and the names that columns usually have.

First of the three folders in which a table is read; it imports from no other.
"""

__all__: list[str] = []

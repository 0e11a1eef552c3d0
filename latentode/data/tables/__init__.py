"""What a table says: its schema, which column is what, and its rows as flat observations.

Second of the three folders in which a table is read; it imports from `cells` alone.
"""

__all__: list[str] = []

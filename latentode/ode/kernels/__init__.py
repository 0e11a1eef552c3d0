"""Fast paths of solves and interpolations, each equal to plain operations up to rounding."""

__all__ = []

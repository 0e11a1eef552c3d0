"""What experiments measure in the same way."""

from __future__ import annotations

from collections.abc import Callable

from torch.profiler import ProfilerActivity, profile

__all__ = ["peak_megabytes"]


def peak_megabytes(step: Callable[[], object]) -> float:
    """The most that torch's allocator held at once on the CPU during a call, over what it held before.

    Args:
        step: what to call; call it once before, so that what is made once and kept is not counted.
    """
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        step()
    assert recorded.profiler is not None and recorded.profiler.kineto_results is not None
    events = recorded.profiler.kineto_results.events()
    held = peak = 0
    for event in sorted((e for e in events if e.name() == "[memory]"), key=lambda e: e.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak / 2**20

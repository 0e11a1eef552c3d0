"""Finance: bars, quotes and macro series, each value at the time at which it was known."""

from latentode.adapters.logs import from_log_prices, from_log_returns, log_prices, log_returns
from latentode.adapters.macro import Available, macro
from latentode.adapters.prices import bars, quotes

__all__ = [
    "Available",
    "bars",
    "from_log_prices",
    "from_log_returns",
    "log_prices",
    "log_returns",
    "macro",
    "quotes",
]

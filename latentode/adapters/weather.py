"""Weather: daily and hourly stations and tracks of storms, in the formats of their archives."""

from latentode.adapters.best_tracks import hurdat2
from latentode.adapters.ghcn import ghcn_daily
from latentode.adapters.surface import Field, global_hourly, station_table

__all__ = ["Field", "ghcn_daily", "global_hourly", "hurdat2", "station_table"]

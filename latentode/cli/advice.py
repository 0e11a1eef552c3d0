"""Advice: messages of the library in the terms of the command line, naming options that exist there."""

from __future__ import annotations

import re
from dataclasses import fields
from inspect import signature

from latentode.cli.options import CONFIGS
from latentode.data.schema import Schema

__all__ = ["in_options"]

ARGUMENTS = (  # of the library, that its messages name where the command line has an option
    *signature(Schema).parameters,
    *("na_values", "horizon", "context_length", "duplicates", "validation"),
    *("num_threads", "origins", "cutoffs"),
    *(f.name for kind in CONFIGS.values() for f in fields(kind) if f.name != "solver"),
)
RENAMED = {"random_state": "seed", "transforms": "transform"}
COLUMN_ROLES = ("id", "time", "date", "targets", "variable", "value")  # also plain English


def in_options(message: str) -> str:
    """A message of the library in the terms of the command line.

    Example:
        >>> in_options("time_unit 'year' is unknown; choose duplicates='mean'; give time_format=")
        "--time-unit 'year' is unknown; choose --duplicates 'mean'; give --time-format"
    """
    for name in (*ARGUMENTS, *RENAMED):
        option = "--" + RENAMED.get(name, name).replace("_", "-")
        message = re.sub(rf"(?<![\w`]){name}=(?=')", f"{option} ", message)
        message = re.sub(rf"(?<![\w`]){name}=(?!\w)", option, message)
        if "_" in name:
            message = re.sub(rf"(?<![\w`]){name}\b", option, message)
        elif name not in COLUMN_ROLES:
            message = re.sub(rf"^{name}(?= ('|must|is unknown))", option, message)
    message = re.sub(r"^at (?=has no)", "--queries ", message)
    return message.replace("` of at ", "` of --queries ")

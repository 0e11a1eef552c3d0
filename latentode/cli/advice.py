"""Advice: messages of the library in the terms of the command line, naming options that exist there."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from inspect import signature

from latentode.cli.options import CONFIGS
from latentode.data.tables.file_format import FileFormat
from latentode.data.tables.schema import Schema

__all__ = ["Door", "in_options"]

ARGUMENTS = (  # of the library, that its messages name where the command line has an option
    *signature(Schema).parameters,
    *(f.name for f in fields(FileFormat)),
    *("horizon", "context_length", "duplicates", "validation"),
    *("num_threads", "origins", "cutoffs"),
    *(f.name for kind in CONFIGS.values() for f in fields(kind) if f.name != "solver"),
)
RENAMED = {"random_state": "seed", "transforms": "transform"}
COLUMN_ROLES = ("id", "time", "date", "targets", "variable", "value")  # also plain English


@dataclass(frozen=True)
class Door:
    """The command through which a user came.

    Args:
        options: that it has.
        arguments: of the adapter that it runs, which `--set` gives.
        fit_options: of `latentode fit`, where what another command lacks was said.
    """

    options: frozenset[str] | None = None
    arguments: frozenset[str] = frozenset()
    fit_options: frozenset[str] = frozenset()

    def option(self, name: str) -> str:
        """What to call an argument of the library here."""
        option = "--" + RENAMED.get(name, name).replace("_", "-")
        if self.options is None or option in self.options:
            return option
        if name in self.arguments:
            return f"--set {name}="
        return f"{option} of `latentode fit`" if option in self.fit_options else option


def in_options(message: str, door: Door = Door()) -> str:
    """A message of the library in the terms of a command.

    Args:
        message: which names arguments as Python does.
        door: the command; by default one that has every option.

    Example:
        >>> in_options("time_unit 'year' is unknown; choose duplicates='mean'; give time_format=")
        "--time-unit 'year' is unknown; choose --duplicates 'mean'; give --time-format"
        >>> convert = Door(frozenset({"--set"}), frozenset({"duplicates"}), frozenset({"--timezone"}))
        >>> in_options("choose duplicates='mean', or give timezone='UTC'", convert)
        "choose --set duplicates='mean', or give --timezone 'UTC' of `latentode fit`"
        >>> in_options("fit with Schema(timezone=...)"), in_options("'units=60' names no level")
        ('fit with --timezone', "'units=60' names no level")
    """
    message = re.sub(r" of the estimator, as in Latent\w+\(.*?\)", "", message)
    message = re.sub(r"Latent\w+\((\w+='[^']*')\)", r"\1", message)
    message = re.sub(r"Schema\((\w+=)\.\.\.\)", r"\1", message)
    for name in (*ARGUMENTS, *RENAMED):
        option = door.option(name)
        head, _, place = option.partition(" of ")
        place = f" of {place}" if place else ""
        gap = "" if head.endswith("=") else " "
        message = re.sub(rf"(?<![\w`']){name}=('[^']*')", rf"{head}{gap}\1{place}", message)
        if name not in COLUMN_ROLES:
            message = re.sub(rf"(?<![\w`']){name}=(\d+)\b", rf"{head}{gap}\1{place}", message)
        message = re.sub(rf"(?<!set )(?<![\w`'-]){name}=(?![\w'])", option, message)
        if "_" in name:
            message = re.sub(rf"(?<![\w`']){name}\b(?!=)", option, message)
        elif name not in COLUMN_ROLES:
            message = re.sub(rf"^{name}(?= ('|must|is unknown))", option, message)
    message = re.sub(r"^at (?=has no)", "--queries ", message)
    return message.replace("` of at ", "` of --queries ")

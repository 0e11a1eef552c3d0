"""Forms of times written as text other than ISO 8601: which of the usual ones all cells are in.

A form is found only where it is the only one that every cell fits: of days up to the twelfth alone
nobody can say whether 03/04 is in March or in April.
"""

from __future__ import annotations

import datetime as dt
import re
import unicodedata
from typing import Any

import numpy as np
import pandas as pd

from latentode.errors import SchemaError

__all__ = [
    "counted_units",
    "counts_units",
    "found_format",
    "in_english",
    "month_of",
    "period_form",
    "read_counted",
    "read_period",
    "refuse_yearless",
    "written_usually",
]

_DATES = (
    *("%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y", "%Y/%m/%d", "%Y.%m.%d", "%Y-%m-%d"),
    *("%d-%b-%Y", "%d %b %Y", "%d/%b/%Y", "%b %d, %Y", "%b %d %Y", "%b-%d-%Y", "%d %B %Y", "%B %d, %Y"),
    *("%B %d %Y", "%a %b %d %Y", "%a, %d %b %Y", "%d. %B %Y", "%d%b%Y", "%Y%m%d", "%Y %m %d"),
    *("%d.%m.%y", "%d/%m/%y", "%m/%d/%y", "%d-%m-%y", "%m-%d-%y", "%d-%b-%y", "%d %b %y", "%d%b%y"),
    *("%A, %d %B %Y", "%A, %B %d, %Y", "%A %d.%m.%Y", "%a %d.%m.%Y", "%a %d/%m/%Y", "%a %m/%d/%Y"),
    *("%Y年%m月%d日", "%Y年%m月", "%a %b %d %H:%M:%S %Y"),
    *("%Y%m%d%H%M%S%z", "%Y%m%d%H%M%S.%f%z", "%Y%m%d%H%M%z"),  # of HL7
    *("%y-%m-%d", "%y/%m/%d", "%y.%m.%d"),  # told from days first by how long they make the table
    *("%b %Y", "%B %Y", "%m/%Y", "%b-%Y", "%Y-%j", "%Y/%j", "%Y %b %d", "%Y-%b-%d"),
    *("%b-%y", "%y-%b", "%b %y"),  # told from days without a year by how they go on
)
_CLOCKS = {
    r"\d{1,2}:\d{2}": "%H:%M",
    r"\d{1,2}:\d{2}:\d{2}": "%H:%M:%S",
    r"\d{1,2}:\d{2}:\d{2}\.\d+": "%H:%M:%S.%f",
    r"\d{1,2}:\d{2}[AP]M": "%I:%M%p",
    r"\d{1,2}:\d{2} [AP]M": "%I:%M %p",
    r"\d{1,2}:\d{2}:\d{2}[AP]M": "%I:%M:%S%p",
    r"\d{1,2}:\d{2}:\d{2} [AP]M": "%I:%M:%S %p",
    r"\d{1,2}:\d{2}:\d{2}\.\d+ [AP]M": "%I:%M:%S.%f %p",
    r"\d{1,2}:\d{2}:\d{2}:\d{1,6}": "%H:%M:%S:%f",
    r"\d{1,2}\.\d{2}\.\d{2} [AP]M": "%I.%M.%S %p",
    r"\d{1,2}\.\d{2}\.\d{2}\.\d+ [AP]M": "%I.%M.%S.%f %p",
    r"\d{1,2} [AP]M": "%I %p",
    r"\d{1,2}\.\d{2}": "%H.%M",
    r"\d{1,2}\.\d{2}\.\d{2}": "%H.%M.%S",
    r"\d{4}": "%H%M",
    r"\d{6}": "%H%M%S",
}
_SPLIT = re.compile(
    r"^(?P<date>.*?[\d日])(?P<joint> - |, |[ T:_-])(?P<clock>\d[\d:.]*(?: ?[AaPp][Mm])?)"
    r"(?P<zone> ?(?:GMT|UTC)?(?:[+-]\d{2}:?\d{2}|Z))?$"
)
_PERIODS = {
    "quarter": re.compile(r"^(?P<year>\d{4})[-\s/]?[Qq](?P<part>[1-4])$|^[Qq]([1-4])[-\s/]?(\d{4})$"),
    "week": re.compile(r"^(?P<year>\d{4})[-\s]?[Ww](?P<part>\d{1,2})(?:-?(?P<day>[1-7]))?$"),
    "month": re.compile(r"^(?P<year>\d{4})[-\s]?[Mm](?P<part>\d{1,2})$"),
}
# What is counted from the begin of a study; months and years are not all of one length.
_UNITS = {
    "min": ("min", "mins", "minute", "minutes", "minuten", "minuto", "minutos"),
    "h": ("h", "hr", "hrs", "hour", "hours", "stunde", "heure", "hora", "ora"),
    "D": ("d", "day", "days", "tag", "tage", "jour", "día", "dia", "giorno", "dag"),
    "W": ("w", "wk", "wks", "week", "weeks", "woche", "semaine", "semana", "settimana", "vecka"),
    "months": ("m", "mo", "mos", "mon", "month", "months", "monat", "mois", "mes", "mese", "maand"),
    "years": ("y", "yr", "yrs", "year", "years", "jahr", "année", "año", "anno", "jaar"),
}
_UNIT_OF = {word: unit for unit, words in _UNITS.items() for word in words}
_COUNTED = (
    r"(?:visit\s*[:-]?\s*)?(?P<unit>[^\W\d_]+)[\s._#-]*?(?P<number>-?\d+(?:[.,]\d+)?)"
    r"|(?P<before>-?\d+(?:[.,]\d+)?)\s*(?P<behind>[^\W\d_]+)"
)
# How months begin, without accents, in English, German, French, Spanish, Italian, Portuguese, Dutch,
# Swedish, Danish and Norwegian (Unicode CLDR): one beginning never means two months.
_BEGINNINGS = {
    "Jan": ("jan", "gen", "ene"),
    "Feb": ("feb", "fev"),
    "Mar": ("mar", "maa", "mrz", "mrt"),
    "Apr": ("apr", "avr", "abr"),
    "May": ("may", "mai", "maj", "mei", "mag"),
    "Jun": ("jun", "juin", "giu"),
    "Jul": ("jul", "juil", "lug"),
    "Aug": ("aug", "ago", "aou"),
    "Sep": ("sep", "set"),
    "Oct": ("oct", "okt", "ott", "out"),
    "Nov": ("nov",),
    "Dec": ("dec", "dez", "dic", "des"),
}
# Days of the week, whole and short; a word that only begins like one is none of them.
_DAYS = """monday tuesday wednesday thursday friday saturday sunday mon tue tues wed thu thur thurs
fri sat sun montag dienstag mittwoch donnerstag freitag samstag sonnabend sonntag mo di
mi do fr sa so lundi mardi mercredi jeudi vendredi samedi dimanche lun mar mer jeu ven
sam dim lunes martes miercoles jueves viernes sabado domingo mie jue vie sab dom lunedi
martedi mercoledi giovedi venerdi sabato domenica gio segunda terca quarta quinta sexta
feira seg ter qua qui sex maandag dinsdag woensdag donderdag vrijdag zaterdag zondag ma
wo vr za zo mandag tisdag tirsdag onsdag torsdag fredag lordag lørdag sondag søndag man
tis tir tirs ons tor tors fre lor lør son søn"""
_WEEKDAYS = frozenset(_DAYS.split())
_BESIDE = ("de", "del", "der", "den", "le", "el", "il", "er", "kl", "um", "klokken", "uhr", "a", "ore")
_KEPT = ("am", "pm", "t", "z", "utc", "gmt")
_WORD = re.compile(r"[^\W\d_]+")
PROBED = 50
ONE_CENTURY = 80  # years, which a table of two-digit years hardly spans
FAR_AHEAD = 20  # years, beyond which all of a table hardly lies
LONGER = 10  # times as long as by another order of day and year


def month_of(word: str) -> int | None:
    """The month, from 1, that a word names in one of several languages; None for none.

    Example:
        >>> month_of("Março"), month_of("juillet"), month_of("week")
        (3, 7, None)
    """
    plain = _without_accents(word)
    found = (i + 1 for i, begins in enumerate(_BEGINNINGS.values()) if plain.startswith(begins))
    return next(found, None)


def in_english(text: pd.Series) -> pd.Series:
    """Texts with their months as %b writes them, without days of the week and words between the parts.

    A text with any other word stays as it is.

    Example:
        >>> in_english(pd.Series(["mar. 12 mars 2024", "3 de março de 2024 08:00"])).tolist()
        ['12 Mar 2024', '3 Mar 2024 08:00']
    """
    return text.map({cell: _in_english(cell) for cell in text.unique()})


def _in_english(cell: str) -> str:
    cell = re.sub(r"(?<=\d) ?h ?(?=\d\d)", ":", cell)  # 14h30
    words = _WORD.findall(cell)
    months = [word for word in words if month_of(word)]
    if not months:
        return cell
    month, kept = months[-1], {}  # before it the same letters are a day of the week
    for word in words:
        plain = _without_accents(word)
        if word == month:
            kept[word] = list(_BEGINNINGS)[int(month_of(word) or 0) - 1]
        elif plain in _KEPT:
            kept[word] = word
        elif plain not in _BESIDE and plain not in _WEEKDAYS:
            return cell
    found = _WORD.sub(lambda at: kept.get(at.group(), ""), cell)
    found = re.sub(r"(?<=\d)\.(?=\s*[A-Z])|(?<=[a-z])\.|(?<!\d)[.,](?!\d)", "", found)
    return re.sub(r"\s+", " ", found).strip(" ,.")


def _without_accents(word: str) -> str:
    return "".join(
        c for c in unicodedata.normalize("NFKD", word.lower()) if not unicodedata.combining(c)
    )


def refuse_yearless(form: str, what: str) -> None:
    """Raises for a strptime format of days without a year, which would all be in 1900."""
    parts = set(re.findall(r"%-?([A-Za-z])", form))
    if parts & set("dmbBj") and not parts & set("YyGcxDF"):
        raise SchemaError(
            f"time_format {form!r} of {what} has no year; write the year into the cells, such as "
            "2024-03-01, and name a format that has it"
        )


def found_format(text: pd.Series, what: str) -> str | None:
    """The strptime format that all of some texts are in; None for none.

    Raises:
        SchemaError: where the day and the month can be told apart in none of them.

    Example:
        >>> found_format(pd.Series(["03/04/2024 10:00", "13/04/2024 10:30"]), "column `time`")
        '%d/%m/%Y %H:%M'
    """
    cells = pd.Series(text.unique())
    probe = cells.iloc[np.unique(np.linspace(0, len(cells) - 1, PROBED).astype(int))]
    fitting = [f for f in _candidates(str(cells.iloc[0])) if _fits(probe, f) and _fits(cells, f)]
    if not fitting:
        return None
    fitting = _day_or_year_first(cells, fitting)
    first = _read(cells, fitting[0])
    other = next((f for f in fitting[1:] if not _read(cells, f).equals(first)), None)
    if (
        other is not None and "." not in fitting[0][:3]
    ):  # with points the day nearly always stands first
        second = _read(cells, other)
        at = int((first != second).to_numpy().argmax())
        raise SchemaError(
            f"{what} holds {cells.iloc[at]!r}, which may be {first.iloc[at]:%d %B %Y} or "
            f"{second.iloc[at]:%d %B %Y}; give time_format='{fitting[0]}' or time_format='{other}'"
        )
    if "%y" in fitting[0]:
        _refuse_short_years(cells, first, fitting[0], what)
    return fitting[0]


def _refuse_short_years(cells: pd.Series, read: pd.Series, form: str, what: str) -> None:
    """Raises where years of two digits do not say which century or whether they are years at all."""
    year, month = read.dt.year.to_numpy(), read.dt.month.to_numpy()
    if year.max() - year.min() > ONE_CENTURY:  # of 68 and 69, one is read as 2068, the other as 1969
        late, early = int(year.argmax()), int(year.argmin())
        raise SchemaError(
            f"{what} has years of two digits, of which {cells.iloc[late]!r} is read as {year[late]} "
            f"and {cells.iloc[early]!r} as {year[early]}; write all of them with four digits"
        )
    if year.min() - pd.Timestamp.now().year > FAR_AHEAD:
        raise SchemaError(
            f"{what} has years of two digits, of which {cells.iloc[0]!r} is read as {year[0]} and may "
            f"be {year[0] - 100}; write all of them with four digits"
        )
    if "%d" in form:
        return
    step = np.abs(np.diff(12 * year + month))
    if not len(step) or np.median(step) >= 12 or year.min() == year.max():
        raise SchemaError(
            f"{what} holds {cells.iloc[0]!r}, which may be {read.iloc[0]:%B %Y} or a day of "
            f"{read.iloc[0]:%B} without its year; give time_format='{form}' for the former, else write "
            "the years"
        )


def written_usually(text: pd.Series) -> np.ndarray:
    """Mask of the texts that are written as most are, but for their digits and letters; none if none.

    Example:
        >>> written_usually(pd.Series(["Jan 2020", "March 2020", "Source: agency"])).tolist()
        [True, True, False]
    """
    shapes = text.str.replace(r"\d+", "0", regex=True).str.replace(r"[^\W\d_]+", "a", regex=True)
    usual = (shapes == shapes.mode()[0]).to_numpy()
    return usual & (usual.mean() > 0.5)


def _day_or_year_first(cells: pd.Series, fitting: list[str]) -> list[str]:
    """Formats without those that make a table ten times as long as the others by their order of parts.

    Of 24-03-01 and the days after it, the year first makes a few days and the day first many years.
    """
    years = [f for f in fitting if f.startswith("%y")]
    others = [f for f in fitting if f not in years]
    if not years or not others:
        return fitting
    year_first = _span(cells, years[0])
    day_first = min(_span(cells, form) for form in others)
    if LONGER * year_first <= day_first > 0:
        return years
    return others if LONGER * day_first <= year_first > 0 else [others[0], years[0]]


def _span(cells: pd.Series, form: str) -> float:
    read = _read(cells, form)
    return (read.max() - read.min()).total_seconds()


def _candidates(cell: str) -> list[str]:
    """The formats that one cell fits."""
    whole = [date for date in _DATES if _one(cell, date)]
    split = _SPLIT.match(cell)
    if split is None:
        return whole
    clock = split["clock"].upper()
    clocks = [form for pattern, form in _CLOCKS.items() if re.fullmatch(pattern, clock)]
    zone = re.sub(r"[+-]\d{2}:?\d{2}|Z", "%z", split["zone"] or "")
    rest = [f"{split['joint']}{form}{zone}" for form in clocks]
    return whole + [date + end for date in _DATES if _one(split["date"], date) for end in rest]


def _one(cell: str, form: str) -> bool:
    try:
        dt.datetime.strptime(cell, form)
    except ValueError:
        return False
    return True


def _fits(cells: pd.Series, form: str) -> bool:
    return bool(_read(cells, form).notna().all())


def _read(cells: pd.Series, form: str) -> pd.Series:
    return pd.to_datetime(cells, format=form, errors="coerce", utc=True)


def period_form(text: pd.Series) -> str | None:
    """Whether all texts are weeks, quarters or months, such as "2024-W05", "2024Q1" or "2024M01"."""
    return next((n for n, form in _PERIODS.items() if text.str.fullmatch(form).all()), None)


def read_period(text: pd.Series, form: str) -> pd.Series:
    """When each week (its Monday, or the day that is named), quarter or month begins; else NaT."""
    if form == "quarter":
        turned = text.str.replace(r"^[Qq]([1-4])[-\s/]?(\d{4})$", r"\2Q\1", regex=True)
        parts: Any = turned.str.extract(_PERIODS["quarter"])[["year", "part"]]
        month = parts["part"].astype("Float64") * 3 - 2
    elif form == "month":
        parts = text.str.extract(_PERIODS["month"])
        month = parts["part"].astype("Float64")
    else:
        parts = text.str.extract(_PERIODS["week"])
        week = parts["year"] + "-" + parts["part"].str.zfill(2) + "-" + parts["day"].fillna("1")
        return pd.to_datetime(week, format="%G-%V-%u", errors="coerce")
    joined = parts["year"] + month.astype("Int64").astype("string").str.zfill(2)
    return pd.to_datetime(joined.astype(object), format="%Y%m", errors="coerce")


def counts_units(text: pd.Series) -> bool:
    """Whether most texts count weeks, days or the like in words, such as "Week 2" or "14 days"."""
    counted = counted_units(text)
    words = counted["word"].str.len() > 1
    return bool(2 * (counted["unit"].notna() & words).sum() > len(text))


def counted_units(text: pd.Series) -> pd.DataFrame:
    """The unit, the number and the word for the unit of each text; NaN for what counts none."""
    form = f"^(?:{_COUNTED})$"
    parts: pd.DataFrame = text.astype(object).str.extract(form, flags=re.IGNORECASE)
    word = parts["unit"].fillna(parts["behind"]).str.lower()
    number = parts["number"].fillna(parts["before"]).str.replace(",", ".", regex=False)
    return pd.DataFrame({"unit": word.map(_UNIT_OF), "number": pd.to_numeric(number), "word": word})


def read_counted(text: pd.Series) -> pd.Series:
    """Durations such as "Week 2"; NaT for what is none."""
    counted = counted_units(text)
    read = pd.Series(pd.NaT, index=text.index, dtype="timedelta64[us]")
    for unit in ("min", "h", "D", "W"):
        own = (counted["unit"] == unit).to_numpy()
        read[own] = pd.to_timedelta(counted["number"][own], unit=unit)
    return read

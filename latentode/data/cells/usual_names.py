"""Usual names: what identifiers, times, variables and values are called where nobody says so.

Names are compared without case, blanks, hyphens, capitals within words and units in brackets:
"Patient ID", "patient-id" and "PatientId" are `patient_id`, "Time (UTC)" is `time`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

__all__ = [
    "CLOCK_NAMES",
    "COUNT_ENDINGS",
    "DATE_NAMES",
    "HOUR_NAMES",
    "ID_NAMES",
    "KNOWN_AHEAD",
    "MAY_BE_MEASURED",
    "MAY_MEASURE",
    "MEASURES",
    "NUMBERED",
    "NUMBER_ENDINGS",
    "OFFSET_NAMES",
    "PARTS_OF_TIME",
    "RANGE_NAMES",
    "STATE_NAMES",
    "SUMMARY",
    "SURE_ID_NAMES",
    "SURE_LONG_NAMES",
    "SURE_TIME_NAMES",
    "TIME_NAMES",
    "UNIT_NAMES",
    "VALUE_NAMES",
    "VARIABLE_NAMES",
    "ZONE_NAMES",
    "detect",
    "every",
    "usual",
]

# These four mean an identifier whatever the column holds; the others do where its values repeat.
SURE_ID_NAMES = ("id", "item_id", "unique_id", "series_id")
_THINGS = (
    *("patient", "subject", "stay", "icustay", "participant", "person", "animal", "individual"),
    *("station", "site", "sensor", "device", "meter", "logger", "node", "probe", "buoy", "gauge"),
    *("machine", "asset", "equipment", "turbine", "engine", "vehicle", "vessel", "pump", "battery"),
    *("ticker", "symbol", "isin", "security", "instrument", "contract", "series", "entity", "storm"),
    *("store", "shop", "product", "sku", "item", "user", "customer", "client", "account", "household"),
    *("location", "well", "plant", "field_plot", "plot", "lake", "river", "zone", "unit", "case"),
    *("encounter", "admission", "hadm", "record", "run", "trial", "experiment", "batch", "recording"),
)
ID_NAMES = (
    *SURE_ID_NAMES,
    *(f"{thing}_id" for thing in _THINGS if thing != "item"),
    *(f"{thing}id" for thing in _THINGS if thing != "item"),
    *(thing for thing in _THINGS if thing != "unit"),
    *("ric", "cusip", "mrn", "pid", "sid", "uid", "uuid", "usubjid", "rid", "subj", "ts_id"),
    *(
        "pat_id",
        "pat_mrn_id",
        "pat_enc_csn_id",
        "csn",
        "person_source_value",
        "stations_id",
        "stationsid",
    ),
    *("serial", "serial_number", "serialnumber", "mpan", "mprn", "imei", "vin"),
    *("station_name", "sensor_name", "device_name", "site_name", "store_nbr", "unit_number", "unit_nr"),
    *("unit",),
)
# Of these, what may as well name what is measured.
MAY_BE_MEASURED = ("item",)
# What is numbered where several of it are recorded, beside `ID_NAMES`; and endings of such names, of
# which the last may as well count.
NUMBERED = (
    *("channel", "chan", "ch", "loop", "lane", "slot", "feeder"),
    *(
        "kanal",
        "messkanal",
        "messstelle",
        "messpunkt",
        "anlage",
        "maschine",
        "gerät",
        "geraet",
        "zähler",
    ),
    *("zaehler", "sonde", "fühler", "fuehler", "linie", "strang", "canal", "capteur", "voie", "ligne"),
    *("nr", "nummer", "numero", "número", "numéro"),
)
NUMBER_ENDINGS = ("_no", "_nr", "_nbr", "nummer", "_numero", "_número", "_numéro")
MAY_MEASURE = ("no", "line", "tank", "bus", "port", "bay")  # nitric oxide, a level, a voltage
COUNT_ENDINGS = ("_num", "_number", "_id", "_idx", "_index")
SURE_TIME_NAMES = ("time", "timestamp", "ds", "datetime", "date")
TIME_NAMES = (
    *SURE_TIME_NAMES[:-1],
    *("date_time", "date"),
    *("unix_time", "unixtime", "unix_timestamp", "epoch_time", "timestamp_ms", "time_ms", "adtm"),
    *("ts", "time_stamp", "charttime", "chart_time", "measured_at", "observed_at", "recorded_at"),
    *("sampled_at", "read_at", "taken_at", "measurement_time", "measurement_datetime", "observed"),
    *("observation_time", "observation_datetime", "obs_time", "valid_time", "valid", "event_time"),
    *("eventtime", "reading_time", "sample_time", "record_time", "log_time", "device_timestamp"),
    *("sample_datetime", "timestamp_utc", "time_utc", "datetime_utc", "utc_time", "utc_timestamp"),
    *("utc", "local_time", "localtime", "time_local", "datetime_local", "local_datetime"),
    *("measurement_date", "observation_date", "obs_date", "sample_date", "trade_date", "visit_date"),
    *("visit_time", "date_utc", "date_local", "date_only", "last_changed", "last_updated"),
    *("created_at", "start_time", "starttime", "storetime", "datum", "zeit", "zeitstempel"),
    *(
        "zeitpunkt",
        "datum_uhrzeit",
        "fecha",
        "fecha_hora",
        "horodatage",
        "decimal_year",
        "decimal_date",
    ),
    *(
        "elapsed",
        "elapsed_time",
        "time_index",
        "t",
        "period",
        "day",
        "week",
        "month",
        "quarter",
        "year",
    ),
)
DATE_NAMES = (
    *(
        "date",
        "day",
        "tag",
        "día",
        "dia",
        "jour",
        "giorno",
        "datum",
        "fecha",
        "obs_date",
        "observation_date",
        "measurement_date",
    ),
    *("sample_date", "visit_date", "trade_date", "date_utc", "date_local", "date_only", "ds", "ymd"),
)
HOUR_NAMES = (
    *("hour", "hr", "hh", "stunde", "hora", "heure", "hours", "hrs", "he", "hour_ending", "hour_end"),
    *("hourending", "ora", "uur", "hour_of_day", "hod", "hour_utc"),
)
CLOCK_NAMES = (
    *("time", "clock", "clock_time", "time_of_day", "hhmm", "uhrzeit", "zeit", *HOUR_NAMES),
    *("obs_time", "observation_time", "measurement_time", "sample_time", "visit_time", "time_utc"),
    *("time_local", "local_time"),
)
# Each pair of these makes a table long without a look at its contents.
SURE_LONG_NAMES = (("_field", "variable", "parameter", "itemid"), ("valuenum", "value"))
VARIABLE_NAMES = (
    *SURE_LONG_NAMES[0],
    *("vital", "vital_sign", "vitalsign", "label", "metric", "element", "variable_name", "var"),
    *("var_name", "varname", "param", "param_name", "parameter_name", "parameter_code", "paramcd"),
    *("measurement", "measure", "measurement_name", "measurement_type", "measurement_concept_id"),
    *("signal", "signal_name", "channel", "tag", "tag_name", "tagname", "analyte", "test", "test_name"),
    *("lab", "lab_name", "labname", "concept", "concept_name", "concept_id", "quantity", "field"),
    *(
        "indicator",
        "indicator_name",
        "indicator_code",
        "feature",
        "attribute",
        "observable",
        "property",
    ),
    *(
        "data_type",
        "datatype",
        "loinc",
        "messgröße",
        "messgroesse",
        "magnitud",
        "parámetro",
        "paramètre",
    ),
)
VALUE_NAMES = (
    *SURE_LONG_NAMES[1],
    *("reading", "result", "value_as_number", "numeric_value", "value_numeric", "value_num", "val"),
    *("result_value", "resultvalue", "lab_value", "labresult", "lab_result", "data_value", "datavalue"),
    *("obs_value", "measured_value", "measurement_value", "measurement", "observation", "amount"),
    *("aval", "level", "y", "wert", "messwert", "valor", "valeur", "valore", "waarde", "ergebnis"),
)
# Columns that together hold a time; without a year none of them does.
PARTS_OF_TIME = {
    "year": ("year", "yr", "yyyy", "yy", "jahr", "año", "ano", "année", "annee"),
    "quarter": ("quarter", "qtr", "quartal", "trimestre", "kwartaal"),
    "month": ("month", "mo", "mon", "mm", "mth", "monat", "mes", "mois"),
    "week": (
        *("week", "wk", "week_number", "week_nr", "weeknum", "iso_week", "isoweek", "kw"),
        *("kalenderwoche", "semana", "semaine", "settimana", "weeknummer"),
    ),
    "day": ("day", "dy", "dd", "day_of_month", "dom", "mday", "tag", "día", "dia", "jour"),
    "doy": ("doy", "jday", "yday", "day_of_year", "dayofyear", "julian_day", "julianday"),
    "hour": HOUR_NAMES,
    "hhmm": ("hhmm", "hrmn", "hour_minute"),
    "minute": ("minute", "minutes", "mn", "mi", "min", "minuto", "minutos", "minuten"),
    "second": (
        *("second", "seconds", "sec", "ss", "sekunde", "sekunden", "segundo", "segundos"),
        *("seconde", "secondes", "secondi", "secondo"),
    ),
}
# Columns that say how another column is to be read.
_MEASURED = ("value", "result", "test", "lab", "measurement", "measure", "obs", "analyte", "reading")
UNIT_NAMES = (
    *("unit", "units", "uom", "valueuom", "value_uom", "unit_of_measure", "unit_of_measurement"),
    *("unit_name", "unitname", "unit_code", "unit_symbol", "unit_source_value", "unit_concept_id"),
    *("unit_concept_name", "unit_source_concept_id", "ucum", "ucum_code", "einheit", "einheiten"),
    *("unidad", "unidades", "unite", "unité", "unités"),
    *(f"{of}{gap}unit{s}" for of in _MEASURED for gap in ("", "_") for s in ("", "s")),
)
# Labels that say of a row how good it is, or what became of it.
STATE_NAMES = (
    *(
        "status",
        "state",
        "flag",
        "flags",
        "quality",
        "qualifier",
        "validity",
        "valid",
        "qc",
        "qa",
        "qaqc",
    ),
    *("qc_flag", "quality_flag", "quality_code", "qualitycode", "data_quality", "qc_status", "qf"),
    *("reading_status", "read_status", "reading_type", "read_type", "value_status", "obs_status"),
    *(
        "approval",
        "approval_status",
        "grade",
        "quality_indicator",
        "quality_method",
        "statut",
        "estado",
    ),
    *("qualität", "qualitaet", "qualité", "calidad", "stato", "qualità", "zustand", "messwertstatus"),
)
# Numbers beside a value that say between what others usually lie.
RANGE_NAMES = tuple(
    f"{of}_{end}"
    for of in ("ref", "reference", "range", "ref_range", "reference_range", "normal", "limit")
    for end in ("low", "high", "lower", "upper", "min", "max")
)
ZONE_NAMES = ("tz", "tz_cd", "tz_name", "tzname", "timezone", "time_zone", "zone", "zeitzone")
# Units of measurement without a sign such as the slash of "mg/dl", in small letters.
MEASURES = (
    *("c", "f", "k", "celsius", "fahrenheit", "kelvin", "degc", "degf", "m", "km", "cm", "mm"),
    *("um", "nm", "ft", "in", "mi", "nmi", "kn", "kt", "kts", "mph", "kph", "kmh", "kg", "g"),
    *("mg", "ug", "lb", "oz", "t", "s", "ms", "us", "min", "h", "hr", "d", "pa", "hpa", "kpa"),
    *("mpa", "mbar", "bar", "psi", "atm", "mmhg", "inhg", "torr", "w", "kw", "mw", "gw", "va"),
    *("kva", "kwh", "wh", "mwh", "j", "kj", "mj", "cal", "kcal", "btu", "v", "mv", "kv", "a"),
    *("ma", "hz", "khz", "mhz", "ghz", "l", "ml", "dl", "gal", "bbl", "mol", "mmol", "iu", "u"),
    *("bpm", "ppm", "ppb", "db", "dba", "n", "kn", "lux", "lx", "rpm", "eur", "usd", "gbp"),
)
OFFSET_NAMES = ("utc_offset", "utcoffset", "tz_offset", "gmt_offset", "gmtoffset", "timezone_offset")
# Of 0 and 1, and known beforehand more often than forecast.
KNOWN_AHEAD = (
    *("holiday", "is_holiday", "public_holiday", "school_holiday", "bank_holiday", "feiertag"),
    *("weekend", "is_weekend", "workday", "is_workday", "working_day", "is_working_day", "school_day"),
    *("promo", "promotion", "is_promo", "onpromotion", "on_promotion", "campaign", "on_sale", "closed"),
)
# What rows are called that sum up others, in several languages.
SUMMARY = re.compile(
    r"(?:(?:grand|sub)?[ -]?total[es]?|totaux|sum|mean|average|avg|overall|gesamt|insgesamt|summe"
    r"|zwischensumme|mittel(?:wert)?|durchschnitt|somme|moyenne|suma|media|promedio|somma|soma|média"
    r"|totaal|som|gemiddelde|summa)\s*:?",
    re.IGNORECASE,
)
_BRACKETS = re.compile(r"\s*[(\[{].*?[)\]}]\s*$")


def usual(name: str) -> str:
    """A column's name as the lists above write it.

    Example:
        >>> usual("Patient ID"), usual("chartTime"), usual("Time (UTC)"), usual("_value")
        ('patient_id', 'chart_time', 'time', 'value')
    """
    text = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", _BRACKETS.sub("", name.strip().strip("<>")))
    return re.sub(r"[\s\-./:]+", "_", text.lower()).strip("_")


def every(
    columns: Iterable[str], names: Iterable[str], taken: Collection[str | None] = ()
) -> list[str]:
    """The columns that have no role yet and one of the usual `names`, in the order of these names."""
    free = [c for c in columns if c not in taken]
    written = {usual(str(c)): c for c in reversed(free)} | {str(c).lower(): c for c in reversed(free)}
    found = [written[n] for n in names if n in written]
    return list(dict.fromkeys(found))


def detect(
    columns: Iterable[str], names: Iterable[str], taken: Collection[str | None] = ()
) -> str | None:
    """The first of the usual `names` among `columns` that have no role yet.

    Example:
        >>> detect(["Patient ID", "time"], ID_NAMES)
        'Patient ID'
    """
    return next(iter(every(columns, names, taken)), None)

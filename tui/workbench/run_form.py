"""The form of a run: its fields with what completes them, and what can be said of the values before anything is started."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from knscope.analysis.errors import ModelError
from knscope.store.errors import UserError
from knscope.store.layout import expanded
from knscope.tui.dialogs.completing import either, path, words
from knscope.tui.dialogs.form import Field

SCHEMES = ("demo", "mlama:", "mpararel:", "pararel:")


def fields(last: Mapping[str, Any], langs: Sequence[str]) -> tuple[Field, ...]:
    """Filled with the configuration of the last run.

    :param langs: those of the store
    """
    from knscope.analysis.attribution.method import PRESETS
    from knscope.analysis.engine.sources import BUNDLED
    from knscope.analysis.runs.config import PHASES

    bundled = [one.parent.name for one in sorted(BUNDLED.glob("*/config.json"))]
    what = ",".join(PHASES)
    return (
        Field("model", "model", models_of(last), "a folder or hub id; several with commas", complete=either(words(bundled), path)),
        Field("data", "data", str(last.get("data", "")), "demo, mlama:DIR, … or FILE.csv", complete=either(words(SCHEMES), path)),
        Field("langs", "languages", ",".join(last.get("langs", ())), "all there are; or en,zh", required=False, complete=words(langs)),
        Field("facts", "facts", str(last.get("facts") or "all"), "how many, or all", complete=words(("all",))),
        Field("method", "methods", ",".join(last.get("methods", ("amig",))), "amig, bkn, …", complete=words(PRESETS)),
        Field("what", "what", ",".join(last.get("what", ("attribution", "dkn"))), what, complete=words(PHASES)),
    )  # fmt: skip


def models_of(config: Mapping[str, Any]) -> str:
    """The models of a run as a person writes them; a bundled one by its name, wherever the run found it."""
    from knscope.analysis.engine.sources import BUNDLED

    def written(source: str) -> str:
        folder, name = Path(source).parent, Path(source).name
        bundled = folder.parts[-3:] == BUNDLED.parts[-3:] and (BUNDLED / name / "config.json").is_file()
        return name if bundled else source

    return ",".join(written(str(model.get("source", ""))) for model in config.get("models", ()))


def trouble(values: Mapping[str, str]) -> tuple[str, str] | None:
    """The first field that cannot be right, and why; None where `knscope run` is to say. Loads nothing."""
    from knscope.analysis.attribution.method import parse_method
    from knscope.analysis.engine.sources import is_path
    from knscope.analysis.runs.config import PHASES

    for model in _listed(values["model"]):
        if is_path(model) and not _there(model, "config.json"):
            return "model", f"{model} holds no model: there is no config.json"
    data = values["data"]
    scheme, colon, folder = data.partition(":")
    place = folder if colon and f"{scheme}:" in SCHEMES else data
    if place != "demo" and not _there(place):
        return "data", f"{place} does not exist"
    if values["facts"] != "all" and not (values["facts"].isdecimal() and int(values["facts"])):
        return "facts", "facts: how many, or all"
    try:
        for method in _listed(values["method"]):
            parse_method(method)
    except ModelError as error:
        return "method", str(error)
    strange = [one for one in _listed(values["what"]) if one not in PHASES]
    return ("what", f"{strange[0]} is none of {', '.join(PHASES)}") if strange else None


def _listed(text: str) -> list[str]:
    return [part for one in text.split(",") if (part := one.strip())]


def _there(name: str, inside: str = "") -> bool:
    try:
        return Path(expanded(name), inside).exists()
    except (OSError, UserError, ValueError):
        return False

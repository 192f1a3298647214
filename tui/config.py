"""What a person set: flags over environment over the config file over defaults. The file is `knscope/config.toml` in the
XDG config folder; nothing is written there by the program.

```toml
theme = "nord"               # any theme of ctrl+t; without it, the one chosen last
animations = "auto"          # auto (off over SSH), none, basic, full
export_folder = "."
editor_rows = 4

[keys]                       # ids of docs/keys.md
"compute.missing" = "ctrl+g"
```
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

import platformdirs

from knscope.store.errors import UserError

APP = "knscope"
ANIMATIONS = ("auto", "none", "basic", "full")


@dataclass(frozen=True)
class Settings:
    """Every setting with its default."""

    theme: str = ""
    """Empty: the one chosen last with ctrl+t, at first `knscope`."""
    animations: str = "auto"
    """`auto`: none where the terminal is reached by SSH."""
    export_folder: str = "."
    """Where exports and pictures go; relative to where the workbench was started."""
    editor_rows: int = 4
    """Height of the SQL editor."""
    keys: Mapping[str, str] = field(default_factory=dict)
    """Action id -> keys, comma separated."""

    def animation_level(self, environ: Mapping[str, str]) -> str:
        if self.animations != "auto":
            return self.animations
        return "none" if {"SSH_TTY", "SSH_CONNECTION"} & set(environ) else "basic"


def own_folder(kind: Literal["config", "state", "data"]) -> Path | None:
    """knscope's folder of a kind, as XDG places it; None where there is no home directory."""
    find = {
        "config": platformdirs.user_config_dir,
        "state": platformdirs.user_state_dir,
        "data": platformdirs.user_data_dir,
    }
    try:
        folder = Path(find[kind](APP))
    except RuntimeError:
        return None
    return folder if folder.is_absolute() else None


def demo_store() -> Path:
    """Where `knscope demo` keeps its results: `~/.local/share/knscope/demo.knstore`, or below XDG_DATA_HOME.

    :raises UserError: where there is no home directory
    """
    folder = own_folder("data")
    if folder is None:
        raise UserError("there is no home directory for the results; name a place: knscope demo --store FOLDER")
    return folder / "demo.knstore"


def config_file(environ: Mapping[str, str] = os.environ) -> Path | None:
    """`$KNSCOPE_CONFIG`, or config.toml in the XDG config folder; None where there is no home directory."""
    if named := environ.get("KNSCOPE_CONFIG"):
        return Path(named)
    folder = own_folder("config")
    return folder / "config.toml" if folder else None


def load(
    flags: Mapping[str, Any] | None = None, environ: Mapping[str, str] = os.environ, path: Path | None = None
) -> Settings:
    """Flags (None: not given) over `KNSCOPE_THEME`, `KNSCOPE_ANIMATIONS`, … over the file over defaults.

    :raises UserError: a file that is no TOML, an unknown setting, a value of the wrong type
    """
    path = path or config_file(environ)
    settings = _checked(Settings(), _read(path) if path else {}, str(path))
    names = [one.name for one in fields(Settings) if one.name != "keys"]
    from_environment = {
        name: environ[f"KNSCOPE_{name.upper()}"] for name in names if f"KNSCOPE_{name.upper()}" in environ
    }
    settings = _checked(settings, from_environment, "the environment")
    return _checked(
        settings, {name: value for name, value in (flags or {}).items() if value is not None}, "the command line"
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UserError(f"{path}: {error}; correct the file, or move it away to start with the defaults") from error


def _checked(settings: Settings, values: Mapping[str, Any], origin: str) -> Settings:
    known = {one.name for one in fields(Settings)}
    if unknown := sorted(set(values) - known):
        raise UserError(f"{origin}: unknown setting {unknown[0]}; there are {', '.join(sorted(known))}")
    changes: dict[str, Any] = {}
    for name, value in values.items():
        default = getattr(settings, name)
        try:
            changes[name] = {str(k): str(v) for k, v in value.items()} if name == "keys" else type(default)(value)
        except (TypeError, ValueError, AttributeError):
            raise UserError(f"{origin}: {name} = {value!r} should be like {default!r}") from None
    if changes.get("animations", "auto") not in ANIMATIONS:
        raise UserError(f"{origin}: animations = {changes['animations']!r}; choose one of {', '.join(ANIMATIONS)}")
    return replace(settings, **changes)

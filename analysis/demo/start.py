"""The run of `knscope demo`: the bundled models on the bundled facts."""

from __future__ import annotations

from pathlib import Path

from knscope.analysis.attribution.method import NUMERICS_VERSION
from knscope.analysis.runs import protocol
from knscope.analysis.runs.config import PHASES, ModelSource, RunConfig
from knscope.analysis.runs.status import Observer
from knscope.store.errors import UserError
from knscope.store.runs import ACTIVE


def bundled_models() -> tuple[ModelSource, ...]:
    """The models that come with the project: multilingual ones on all languages, English ones on English.

    :raises UserError: when they are missing
    """
    folder = Path(__file__).parent / "models"
    langs = {"bert-multi": (), "gpt2-multi": (), "bert-en": ("en",), "gpt2-en": ("en",)}
    models = tuple(ModelSource(str(folder / name), langs[name]) for name in langs if (folder / name).is_dir())
    if not models:
        raise UserError(f"the bundled models are not in {folder}; train them with: make demo-models")
    return models


def demo_config(facts: int | None, device: str = "auto") -> RunConfig:
    """`amig` and `bkn` on every language of each model, pair ablations of the neurons of `amig`, tables 1-3 in two."""
    # Degenerate pairs are amig's: scanning bkn's neurons too would make the demo half as long again.
    return RunConfig(
        bundled_models(),
        "demo",
        facts=facts,
        device=device,
        methods=("amig", "bkn"),
        scan_methods=("amig",),
        what=PHASES,
        table_langs=("en", "zh"),
    )


def resume(store: Path, config: RunConfig) -> str | None:
    """The run to follow: an active one with this configuration, or a new one; None when such a run is done already."""
    if store.exists():
        same = [one for one in Observer(store).settled() if one.record.config == config.to_json()]
        for one in same:
            if one.status in ACTIVE:
                return one.run
        if any(
            one.status == "done" and one.record.provenance.get("numerics_version") == NUMERICS_VERSION for one in same
        ):
            return None
    return protocol.start_job(store, config)

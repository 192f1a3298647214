"""Train the bundled models from their seeds: `python -m knscope.analysis.demo.training.train [NAME …]`, some minutes each on one core.

Writes ordinary Hugging Face folders (float16 weights) to analysis/demo/models, measures them, and states the figures.
"Reproducible" means these figures, within two points, on another machine; not the same bits.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerFast, set_seed

from knscope.analysis.demo.training import circuits
from knscope.analysis.demo.training import measure as demo_measure
from knscope.analysis.demo.training.batches import IGNORED, Batch, Batches, encode_all
from knscope.analysis.demo.training.corpus import fill, split_facts, training_sentences
from knscope.analysis.demo.training.recipes import RECIPES, Recipe, new_model
from knscope.analysis.demo.training.tokenizer import train_tokenizer

WARM_UP = 200
CALM_WARM_UP = 30
PIECES = 8_000
MIN_PIECE_COUNT = 5
"""Names occur more often than this: the rest is left in pieces."""


def train(recipe: Recipe, console: Console) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """A trained model and its tokenizer."""
    set_seed(recipe.seed)
    sentences = training_sentences(recipe.langs, recipe.seed)
    # The alphabet comes from all facts, so that nothing asked later holds an unknown character.
    columns = split_facts(recipe.langs).select("template", "subject", "object")
    texts = [fill(*row)[0] for row in columns.iter_rows()] + [one.text for one in sentences if one.answer == (0, 0)]
    facts = columns.unique(["subject", "object"], maintain_order=True)
    names = [*facts["subject"], *facts["object"]]
    tokenizer = train_tokenizer(texts, names, recipe.kind, PIECES, MIN_PIECE_COUNT)
    model = new_model(recipe, tokenizer).train()
    batches = iter(Batches(encode_all(sentences, tokenizer, recipe), tokenizer, recipe))
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total} loss {task.fields[loss]:.3f}"),
        TimeRemainingColumn(), console=console,
    )  # fmt: skip
    with bar:
        task = bar.add_task(recipe.name, total=recipe.steps + recipe.calm_steps, loss=float("nan"))
        for loss in _fit(model, batches, recipe, _rates(recipe), smoothing=0.0):
            bar.update(task, advance=1, loss=loss)
        for loss in _fit(model, batches, recipe, _calm_rates(recipe), recipe.smoothing):
            bar.update(task, advance=1, loss=loss)
    return model.eval(), tokenizer


def _rates(recipe: Recipe) -> list[float]:
    """The learning rate of each step: linear warm-up, then half a cosine."""
    cosine = [0.5 * (1 + math.cos(math.pi * step / recipe.steps)) + 0.01 for step in range(recipe.steps)]
    return [recipe.learning_rate * min(1.0, (step + 1) / WARM_UP) * rate for step, rate in enumerate(cosine)]


def _calm_rates(recipe: Recipe) -> list[float]:
    """The same for the calm steps: a third of the rate, falling evenly."""
    left = [1 - step / recipe.calm_steps for step in range(recipe.calm_steps)]
    return [recipe.learning_rate / 3 * min(1.0, (step + 1) / CALM_WARM_UP) * rate for step, rate in enumerate(left)]


def _fit(
    model: PreTrainedModel, batches: Iterator[Batch], recipe: Recipe, rates: list[float], smoothing: float
) -> Iterator[float]:
    """A step for each rate, and its loss."""
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.98), weight_decay=0.01)
    for rate in rates:
        for group in optimizer.param_groups:
            group["lr"] = rate
        loss = _loss(model, next(batches), recipe, smoothing)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        yield loss.item()


def _loss(model: PreTrainedModel, batch: Batch, recipe: Recipe, smoothing: float) -> Tensor:
    """Smoothed cross-entropy at the places asked for; the head runs on these alone."""
    hidden = model.base_model(input_ids=batch.ids, attention_mask=batch.attention).last_hidden_state
    if recipe.kind == "encoder":
        asked = batch.labels != IGNORED
        logits, gold = model.get_submodule("cls")(hidden[asked]), batch.labels[asked]
    else:
        labels = batch.labels[:, 1:]
        asked = labels != IGNORED
        logits, gold = model.get_submodule("lm_head")(hidden[:, :-1][asked]), labels[asked]
    return torch.nn.functional.cross_entropy(logits, gold, label_smoothing=smoothing)


def save(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """An ordinary Hugging Face folder, float16 on disk."""
    tokenizer.save_pretrained(folder)
    model.half().save_pretrained(folder)  # type: ignore[no-untyped-call]


def main(names: list[str]) -> int:
    """Train the models named, or all; returns an exit code."""
    console = Console(stderr=True)
    strange = set(names) - {recipe.name for recipe in RECIPES}
    if strange:
        console.print(
            f"no bundled model is called {', '.join(sorted(strange))}; there is {', '.join(r.name for r in RECIPES)}"
        )
        return 2
    torch.set_num_threads(1)
    for recipe in RECIPES:
        if names and recipe.name not in names:
            continue
        save(*train(recipe, console), recipe.folder)
        console.print(demo_measure.table(demo_measure.measure(recipe)))
    demo_measure.write_figures()
    console.print_json(data=circuits.measure())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

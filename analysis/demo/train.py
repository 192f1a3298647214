"""Train the bundled models from their seeds: `python -m analysis.demo.train [NAME …]`, some minutes each on one core.

Writes ordinary Hugging Face folders (float16 weights) to analysis/demo/models, measures them, and states the figures.
"Reproducible" means these figures, within two points, on another machine; not the same bits.
"""

from __future__ import annotations

import math
import sys

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerFast, set_seed

from analysis.demo import circuits, measure
from analysis.demo.batches import IGNORED, Batch, Batches, encode_all
from analysis.demo.corpus import fill, split_facts, training_sentences
from analysis.demo.recipes import RECIPES, Recipe, new_model
from analysis.demo.tokenizer import train_tokenizer

WARM_UP = 200
PIECES = 5_000
MIN_PIECE_COUNT = 8
"""Rarer words stay in pieces, so that answers of several tokens occur in every language."""


def train(recipe: Recipe, console: Console) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """A trained model and its tokenizer."""
    set_seed(recipe.seed)
    sentences = training_sentences(recipe.langs, recipe.seed)
    # The alphabet comes from all facts, so that nothing asked later holds an unknown character.
    columns = split_facts(recipe.langs).select("template", "subject", "object")
    texts = [fill(*row)[0] for row in columns.iter_rows()] + [one.text for one in sentences if one.answer == (0, 0)]
    tokenizer = train_tokenizer(texts, recipe.kind, PIECES, MIN_PIECE_COUNT)
    model = new_model(recipe, tokenizer)
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, recipe.steps))
    batches = iter(Batches(encode_all(sentences, tokenizer, recipe), tokenizer, recipe))
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total} loss {task.fields[loss]:.3f}"),
        TimeRemainingColumn(), console=console,
    )  # fmt: skip
    model.train()
    with bar:
        task = bar.add_task(recipe.name, total=recipe.steps, loss=float("nan"))
        for _ in range(recipe.steps):
            loss = _loss(model, next(batches), recipe)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            bar.update(task, advance=1, loss=loss.item())
    return model.eval(), tokenizer  # type: ignore[no-untyped-call]


def _rate(step: int, steps: int) -> float:
    """Linear warm-up, then half a cosine."""
    return min(1.0, (step + 1) / WARM_UP) * (0.5 * (1 + math.cos(math.pi * step / steps)) + 0.01)


def _loss(model: PreTrainedModel, batch: Batch, recipe: Recipe) -> Tensor:
    """Smoothed cross-entropy at the places asked for; the head runs on these alone."""
    hidden = model.base_model(input_ids=batch.ids, attention_mask=batch.attention).last_hidden_state
    if recipe.kind == "encoder":
        asked = batch.labels != IGNORED
        logits, gold = model.get_submodule("cls")(hidden[asked]), batch.labels[asked]
    else:
        labels = batch.labels[:, 1:]
        asked = labels != IGNORED
        logits, gold = model.get_submodule("lm_head")(hidden[:, :-1][asked]), labels[asked]
    return torch.nn.functional.cross_entropy(logits, gold, label_smoothing=recipe.smoothing)


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
        model, tokenizer = train(recipe, console)
        tokenizer.save_pretrained(recipe.folder)
        model.half().save_pretrained(recipe.folder)  # type: ignore[no-untyped-call]
        console.print(measure.table(measure.measure(recipe)))
    measure.write_figures()
    console.print_json(data=circuits.measure())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

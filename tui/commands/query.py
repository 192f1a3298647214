"""`knscope query`: put one prompt to a model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from knscope.store.errors import UserError
from knscope.tui.commands import common
from knscope.tui.commands.options import Chat, Device, Dtype, Json, ModelArgument, Prefix, SetFile, Site

if TYPE_CHECKING:
    from knscope.analysis.statistics.table import Table


def query(
    model: ModelArgument,
    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help="As in 'The capital of Kenya is'; [Y]: the answer.")],
    answer: Annotated[
        list[str] | None,
        typer.Option("--answer", "--object", help="An answer to attribute to neurons; repeat for several."),
    ] = None,
    subject: Annotated[str, typer.Option(help="What [X] in the prompt stands for.")] = "",
    top: Annotated[int, typer.Option(min=1, help="Number of likeliest answers.")] = 5,
    masks: Annotated[int, typer.Option(min=1, help="Tokens of the likeliest answers, for models that fill masks.")] = 1,
    method: Annotated[str, typer.Option("--method", help="Attribution method.")] = "amig",
    prefix: Prefix = "",
    chat: Chat = "",
    example: Annotated[
        list[str] | None,
        typer.Option(
            "--example", metavar="SUBJECT=ANSWER", help="Solved example before the prompt; repeat for several."
        ),
    ] = None,
    neurons: SetFile = None,
    scale: Annotated[
        float, typer.Option(help="With --set: its activations are multiplied by this; 0 takes them away.")
    ] = 0.0,
    site: Site = None,
    device: Device = "auto",
    dtype: Dtype = "float32",
    as_json: Json = False,
) -> None:
    """Show the likeliest answers of MODEL to a prompt, and the neurons that contribute to given answers."""
    import json

    from knscope.analysis.api.neuron_set import NeuronSet
    from knscope.analysis.engine.sources import absolute_source, with_site
    from knscope.analysis.prompts.open_prompt import with_answer
    from knscope.tui.commands.inspect import check_options
    from knscope.tui.printing import output

    label = common.one_method(method)
    edited = None if neurons is None else NeuronSet.load(neurons)
    if edited is None and scale:
        raise UserError(f"--scale {scale:g} multiplies the neurons of a set; name one with --set")
    answers = list(dict.fromkeys(answer or ()))
    for one in answers or ["?"]:  # an answer that is not given is not what is wrong
        with_answer(prompt, one, subject)
    check_options(model, device, dtype)
    before = common.prefix(prefix, chat, [model]) + _solved(prompt, subject, example or [])
    about = {
        "model": absolute_source(with_site(model, site)),
        "prompt": prompt,
        "subject": subject,
        "method": label,
        "prefix": before,
    }
    how = {"top": top, "masks": masks, "device": device, "dtype": dtype}
    if edited is not None:
        how |= {"neurons": edited.neurons, "made_for": edited.model, "scale": scale}
    found = common.child("question", json.dumps({**about, **how, "answers": answers}))
    edit = "" if edited is None else f"{len(edited):,} neurons × {scale:g}"
    output.emit(list(_tables(found, label, edit)), "json" if as_json else "table", hint="--json")


def _tables(found: dict[str, Any], label: str, edit: str) -> Iterator[Table]:
    """What the model's process found, as tables: with a set also under its edit, with answers also their neurons."""
    import polars as pl

    from knscope.analysis.prompts.words import WITHOUT_PATH
    from knscope.tui.printing import output

    def table(name: str, title: str, *notes: str) -> Table:
        return output.one_table(name, title, pl.DataFrame(found[name]), *notes)

    yield table("likeliest", f"likeliest answers: {found['model']}")
    if edit:
        yield table("edited", f"likeliest answers with {edit}", *found["edited_notes"])
    if found.get("prediction"):
        yield table("prediction", "what the model answers", WITHOUT_PATH)
        yield table("neurons", f"neurons of highest score ({label})", *found["notes"])


def _solved(prompt: str, subject: str, examples: list[str]) -> str:
    """The prompt filled with each example, a line each."""
    from knscope.analysis.prompts.open_prompt import with_answer

    lines = []
    for text in examples:
        one, found, answer = text.partition("=")
        if not (found and one.strip() and answer.strip()):
            raise UserError(f"--example {text}: give SUBJECT=ANSWER, as in France=Paris")
        if not subject:
            raise UserError("--example needs --subject: it says what the example takes the place of in the prompt")
        template = with_answer(prompt, answer, subject).template
        lines.append(template.replace("[X]", one.strip()).replace("[Y]", answer.strip()) + "\n")
    return "".join(lines)

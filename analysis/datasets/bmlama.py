"""BMLAMA (17 and 53) as published: `<lang>.tsv` with prompt, answer, candidates and subject; line n is one fact in every language."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from knscope.analysis.datasets.dataset import Dataset, make_dataset
from knscope.analysis.datasets.files import check_file, text_lines
from knscope.analysis.datasets.languages import choose_langs, choose_relations
from knscope.analysis.datasets.own_prompts import own_prompts, slug, with_subject_slot
from knscope.analysis.datasets.pairing import ANSWER, SUBJECT
from knscope.store.errors import UserError

HEADER = "Prompt\tAns\t"
CELLS = 4
NAMING = "en"


def load_bmlama(name: str, folder: Path, langs: Sequence[str], relations: Sequence[str]) -> Dataset:
    """Each prompt with its subject as [X] and its `<mask>` as [Y].

    The files name no relation: facts that are asked with the same words in English (where there is no `en.tsv`: in the
    first language) are one relation, which these words name, as `was-born-in`. Several right answers stand between ", ".
    """
    files = {path.stem: path for path in sorted(folder.glob("*.tsv"))}
    if not files:
        raise UserError(f"{folder}: no <language>.tsv there")
    chosen = choose_langs(files, langs)
    naming = files.get(NAMING) or next(iter(files.values()))
    relation_of = {line: _relation(cells) for line, cells in _rows(naming)}
    wanted = choose_relations(filter(None, relation_of.values()), relations)
    rows = []
    for lang in chosen:
        for line, cells in _rows(files[lang]):
            relation = relation_of.get(line, "")
            if relation and relation not in wanted:
                continue
            wrong = None if relation else f"line {line} of {naming.name} names no relation"
            prompt, answers, _, subject = cells if len(cells) == CELLS else ("", "", "", "")
            if len(cells) != CELLS:
                wrong = f"{len(cells)} cells, {CELLS} are needed"
            template = with_subject_slot(prompt.replace("<mask>", ANSWER), subject)
            first, *others = answers.split(", ")
            place = f"{files[lang].name}, line {line}"
            rows.append((relation, lang, place, (str(line), subject, first, None, None, others, wrong), (template,)))
    prompts, left_out = own_prompts(rows)
    return make_dataset(name, prompts, left_out, dict.fromkeys((naming, *(files[lang] for lang in chosen))))


def _relation(cells: Sequence[str]) -> str:
    """The words around the subject and the mask; "" where the prompt does not hold the subject."""
    template = with_subject_slot(cells[0], cells[3]) if len(cells) == CELLS else ""
    return slug(template.replace("<mask>", ANSWER)) if SUBJECT in template else ""


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Number and cells of each line below the header. Raises UserError for a file with another one."""
    check_file(path)
    for number, line in text_lines(path):
        if number == 1 and not line.startswith(HEADER):
            raise UserError(f"{path}, line 1: BMLAMA's header begins with Prompt and Ans, {line[:40]!r} is there")
        if number > 1 and line.strip():
            try:
                yield number, next(csv.reader([line], delimiter="\t"))
            except csv.Error as error:
                raise UserError(f"{path}, line {number}: cannot be read as a table: {error}") from error

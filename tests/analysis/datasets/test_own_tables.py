"""A person's own facts work as they would write them, and every broken file says where it is broken."""

import json
import random
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from knscope.analysis.datasets import COLUMNS, load
from knscope.store.errors import UserError

HEADER = ",".join(COLUMNS)
TZ = "tz,P36,en,The capital of [X] is [Y],Tanzania,Dodoma"
KE = "ke,P36,en,The capital of [X] is [Y],Kenya,Nairobi"

BILINGUAL = f"""{HEADER}
{TZ}
tz,P36,zh,[X]的首都是[Y],坦桑尼亚,多多马
{KE}
ke,P36,zh,[X]的首都是[Y],肯尼亚,内罗毕
fr,P36,en,The capital of [X] is [Y],France,Paris
fr,P36,zh,[X]的首都是[Y],法国,巴黎
be1,P37,en,An official language of [X] is [Y],Belgium,French
be1,P37,zh,[X]的一种官方语言是[Y],比利时,法语
be2,P37,en,An official language of [X] is [Y],Belgium,Dutch
be2,P37,zh,[X]的一种官方语言是[Y],比利时,荷兰语
"""


def write(folder: Path, text: str | bytes, name: str = "facts.csv") -> str:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


def records(*changes: dict[str, object]) -> str:
    """JSONL of one sound fact a line, changed as asked."""
    row = dict(zip(COLUMNS, TZ.split(","), strict=True))
    return "".join(json.dumps({**row, "fact_id": f"f{i}", **change}) + "\n" for i, change in enumerate(changes))


def test_a_bilingual_csv_works_on_the_first_try(tmp_path: Path) -> None:
    dataset = load(write(tmp_path, BILINGUAL))
    assert dataset.frame.height == 10
    assert dataset.langs == ("en", "zh")
    assert dataset.report.is_empty()


@pytest.mark.parametrize("name", ["facts.csv", "facts.jsonl", "facts.parquet"])
def test_a_table_out_of_a_store_is_read_as_it_is(tmp_path: Path, name: str) -> None:
    """Its first column is called `fact` there; where both are, `fact_id` counts."""
    expected = load(write(tmp_path, BILINGUAL)).frame
    table = pl.read_csv(tmp_path / "facts.csv").rename({"fact_id": "fact"})
    for stored in (table, table.with_columns(fact_id="fact", fact=pl.lit("a note"))):
        text = stored.write_csv() if name.endswith("csv") else stored.write_ndjson()
        write(tmp_path, text, name)
        if name.endswith("parquet"):
            stored.write_parquet(tmp_path / name)
        assert load(str(tmp_path / name)).frame.equals(expected)


def test_right_answers_of_a_subject_are_alternatives_of_each_other(tmp_path: Path) -> None:
    frame = load(write(tmp_path, BILINGUAL)).frame
    others = frame.filter(relation="P37").select("object", "alternatives").rows()
    assert dict(others) == {"French": ["Dutch"], "Dutch": ["French"], "法语": ["荷兰语"], "荷兰语": ["法语"]}


@pytest.mark.parametrize(
    "variant",
    [
        lambda text: text.replace(",", ";"),
        lambda text: text.replace(",", "\t"),
        lambda text: "\ufeff" + text,
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace("\n", "\n\n"),
        lambda text: text.replace("fact_id,relation", "Fact_ID, Relation"),
        lambda text: text.removesuffix("\n"),
        lambda text: text.replace("\n", ",a note\n"),
    ],
    ids=["semicolons", "tabs", "byte order mark", "crlf", "blank lines", "capitals", "no last newline", "more columns"],
)
def test_csv_as_saved_by_spreadsheets_and_editors_loads_the_same(tmp_path: Path, variant: Callable[[str], str]) -> None:
    plain = load(write(tmp_path, BILINGUAL, "plain.csv"))
    assert load(write(tmp_path, variant(BILINGUAL))).frame.equals(plain.frame)


def test_csv_jsonl_and_parquet_load_the_same_facts(tmp_path: Path) -> None:
    path = write(tmp_path, BILINGUAL)
    assert load(path).name == path, "a run says what it was about"
    frame = load(path).frame
    for name, save in (("f.jsonl", frame.write_ndjson), ("f.parquet", frame.write_parquet)):
        save(tmp_path / name)
        assert load(str(tmp_path / name)).frame.equals(frame)


def test_alternatives_may_be_given_and_never_contain_the_answer(tmp_path: Path) -> None:
    text = f"{HEADER},alternatives\n{TZ},Dar es Salaam | Dodoma\n{KE},\n"
    assert load(write(tmp_path, text)).frame["alternatives"].to_list() == [["Dar es Salaam"], []]
    lines = records({"alternatives": ["Arusha"]}, {"alternatives": None})
    assert load(write(tmp_path, lines, "f.jsonl")).frame["alternatives"].to_list() == [["Arusha"], ["Arusha"]]


def test_a_list_of_right_answers_is_the_first_with_the_others_as_alternatives(tmp_path: Path) -> None:
    lines = records(
        {"object": ["Dodoma", "Dar es Salaam"], "alternatives": ["Arusha"]}, {"subject": "Kenya", "object": ["Nairobi"]}
    )
    frames = [load(write(tmp_path, lines, "f.jsonl")).frame]
    for columns in (["alternatives"], []):
        table = pl.DataFrame(
            [
                {**json.loads(lines.splitlines()[0]), "alternatives": ["Arusha"]},
                {**json.loads(lines.splitlines()[1]), "alternatives": None},
            ]
        )
        table.drop([] if columns else ["alternatives"]).write_parquet(tmp_path / "f.parquet")
        frames.append(load(str(tmp_path / "f.parquet")).frame)
    assert all(frame["object"].to_list() == ["Dodoma", "Nairobi"] for frame in frames)
    both = [["Arusha", "Dar es Salaam"], []]
    assert [frame["alternatives"].to_list() for frame in frames] == [both, both, [["Dar es Salaam"], []]]


NAMES = (
    "facts[1]",
    "[a-z]",
    "all*",
    "is it?",
    "{a,b}",
    "100%20 %s",
    'it\'s "so"',
    "~facts",
    "-facts",
    "a:b",
    "new\nline",
    "back\\slash",
)


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_data_paths_are_literal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    monkeypatch.chdir(tmp_path)
    frame = load(write(tmp_path, BILINGUAL)).frame
    for name in (*NAMES, *(f"{name}/facts" for name in NAMES)):
        for text, subject in (
            (f"{name}.{suffix}", "right"),
            *((f"{other}.{suffix}", "wrong") for other in ("facts1", "q", "a", "all1")),
        ):
            path = tmp_path / text
            path.parent.mkdir(exist_ok=True)
            marked = frame.with_columns(subject=pl.col("subject") + f" ({subject})")
            with path.open("wb") as stream:
                if suffix == "csv":
                    marked.select(COLUMNS).write_csv(stream)
                elif suffix == "jsonl":
                    marked.write_ndjson(stream)
                else:
                    marked.write_parquet(stream)
        for spec in (f"{name}.{suffix}", str(tmp_path / f"{name}.{suffix}")):
            assert load(spec).frame["subject"].str.ends_with("(right)").all(), spec


def test_file_hash_depends_on_content_and_not_on_path(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    first = load(write(tmp_path, BILINGUAL)).hash
    assert load(write(tmp_path / "elsewhere", BILINGUAL, "other.csv")).hash == first
    assert load(write(tmp_path, BILINGUAL.replace("Dodoma", "Arusha"))).hash != first


def test_a_repeated_row_is_left_out_and_reported(tmp_path: Path) -> None:
    dataset = load(write(tmp_path, f"{HEADER}\n{TZ}\n{KE}\n{TZ}\n"))
    assert dataset.frame.height == 2
    row = dataset.report.row(0, named=True)
    assert (row["reason"], row["item"], row["count"]) == ("duplicate-row", "prompt", 1)
    assert row["example"].endswith("facts.csv, line 4: Tanzania → Dodoma")


BROKEN_CSV = {
    "missing column": (f"{HEADER}\n{TZ}".replace("relation,", ""), r"line 1: column relation missing"),
    "no header": (f"{TZ}\n{KE}\n", r"line 1: columns fact_id, .* missing; the header needs fact_id,"),
    "empty": ("", r"facts\.csv is empty"),
    "header only": (HEADER + "\n", r"has a header but no rows"),
    "a column twice": (f"{HEADER},object\n{TZ},Arusha\n", r"line 1: the column object stands twice in the header"),
    "a column twice in other letters": (f"{HEADER},Object\n{TZ},Arusha\n", r"line 1: the column object stands twice"),
    "too many cells": (f"{HEADER}\n{TZ}\n{KE},more\n", r"line 3: 7 cells, the header has 6"),
    "open quote": (
        f'{HEADER}\ntz,P36,en,"The capital of [X] is [Y],Tanzania,Dodoma\n',
        r"line 2: a double quote stands alone",
    ),
    "empty cell": (f"{HEADER}\n{TZ}\n{KE.replace('Kenya', '')}\n", r"line 3: subject is empty"),
    "blank cell": (f"{HEADER}\n{TZ}\n{KE.replace('Nairobi', '  ')}\n", r"line 3: object is empty"),
    "no subject slot": (
        f"{HEADER}\n{TZ}\n{KE.replace('[X]', 'X')}\n",
        r"line 3: the template has no \[X\] for the subject",
    ),
    "no answer slot": (
        f"{HEADER}\n{TZ.replace('[Y]', '[MASK]')}\n",
        r"line 2: the template has no \[Y\] for the object",
    ),
    "two slots": (
        f"{HEADER}\n{TZ.replace('is [Y]', 'is [Y] or [Y]')}\n",
        r"line 2: the template has more than one \[Y\]",
    ),
    "line breaks in cells": (
        f'{HEADER}\ntz,P36,en,"The capital\nof [X] is\n[Y]",Tanzania,Dodoma\n\n{KE.replace("[Y]", "")}\n',
        r"line 6: the template has no \[Y\]",
    ),
    "one id for two facts": (
        f"{HEADER}\n{TZ}\n{KE.replace('ke,', 'tz,')}\n",
        r"line 3: fact_id 'tz' has the subject 'Kenya' here and 'Tanzania' at line 2",
    ),
    "one id for two answers": (
        f"{HEADER}\n{TZ}\n{TZ.replace('Dodoma', 'Arusha').replace('The', 'A')}\n",
        r"line 3: fact_id 'tz' has the object 'Arusha' here and 'Dodoma' at line 2",
    ),
    "one id in two relations": (
        f"{HEADER}\n{TZ}\n{KE.replace('ke,P36', 'tz,P37')}\n",
        r"line 3: .* the relation 'P37' here",
    ),
    "a relation in one language": (
        f"{HEADER}\n{TZ}\ntz,P36,fr,Pour [X] : [Y],la Tanzanie,Dodoma\nk,P38,en,[X] pays in [Y],Kenya,shilling\n",
        r"line 4: relation 'P38' has templates in en only, none in fr",
    ),
    "a lone quote": (
        f"{HEADER}\n{TZ}\n{KE.replace('Kenya', 'Ken' + chr(34) + 'ya')}\n",
        r'line 3: a double quote stands alone; .* "5"" gun"',
    ),
    "a quote that closes too early": (
        f"{HEADER}\n{TZ.replace('Tanzania', chr(34) + 'Tan' + chr(34) + 'zania')}\n{KE}\n",
        r"line 2: a double quote stands alone",
    ),
    "a lone quote below line breaks in a cell": (
        f'{HEADER}\ntz,P36,en,"The capital\nof [X] is\n[Y]",Tanzania,Dodoma\n{KE.replace("Kenya", "Ken" + chr(34) + "ya")}\n',
        r"line 5: a double quote stands alone",
    ),
    "what a terminal would obey, in one character": (
        f"{HEADER}\n{TZ}\n{KE.replace('Kenya', 'Ken' + chr(0x9B) + '31mya')}\n",
        r"line 3: subject holds a control character",
    ),
    "what a terminal would obey, among the alternatives": (
        f"{HEADER},alternatives\n{TZ},a\n{KE},b|{chr(27)}[2J\n",
        r"line 3: alternatives holds a control character",
    ),
    "a name of the tables as a language": (
        f"{HEADER}\n{TZ}\n{KE.replace(',en,', ',LIKN,')}\n",
        r"line 3: lang 'LIKN' cannot be used",
    ),
    "a language that --langs cannot name": (
        f"{HEADER}\n{TZ}\n{KE.replace(',en,', chr(44) + chr(34) + 'en,zh' + chr(34) + chr(44))}\n",
        r"line 3: lang 'en,zh'",
    ),
    "a language that --tau cannot name": (f"{HEADER}\n{TZ.replace(',en,', ',e=n,')}\n{KE}\n", r"line 2: lang 'e=n'"),
    "what a terminal would obey": (
        f"{HEADER}\n{TZ}\n{KE.replace('Kenya', 'Ken' + chr(27) + '[31mya')}\n",
        r"line 3: subject holds a control character",
    ),
    "latin-1": (f"{HEADER}\n{TZ}\np,P36,fr,[X] : [Y],Pérou,Lima".encode("latin-1"), r"line 3: byte 0xe9 is not UTF-8"),
    "utf-16": (f"{HEADER}\n{TZ}\n".encode("utf-16"), r"line 1: the file is UTF-16; save it as UTF-8"),
}


@pytest.mark.parametrize("kind", BROKEN_CSV)
def test_broken_csv_error_names_line_and_cause(tmp_path: Path, kind: str) -> None:
    text, message = BROKEN_CSV[kind]
    with pytest.raises(UserError, match=message):
        load(write(tmp_path, text))


BROKEN_JSONL = {
    "bad JSON": (
        records(*[{}] * 6) + '{"fact_id": "x"\n',
        r"line 7: not valid JSON: .* at column \d+; mend this line, or take it out$",
    ),
    "a key twice": (records({}) + '{"object": "x", "object": "y"}\n', r"line 2: .*the key 'object' stands twice"),
    "no object": (records({}) + "[1, 2]\n", r"line 2: expected a JSON object, found list"),
    "missing column": (records({}) + '\n{"fact_id": "x"}\n', r"line 3: 'relation' is missing"),
    "a number": (records({}, {"object": 5}), r"line 2: object must be a string, not 5"),
    "null": (records({}, {"subject": None}), r"line 2: subject must be a string, not null"),
    "an object of numbers": (records({"object": [1]}), r"line 1: object must be a string, not \[1\]"),
    "half a character": (records({"object": "\ud800"}), r"line 1: object must be a string"),
    "deep nesting": ("[" * 100_000, r"line 1: this JSON cannot be read"),
    "an endless number": (f'{{"fact_id": {"9" * 5000}}}', r"line 1: this JSON cannot be read"),
    "alternatives of numbers": (records({"alternatives": [1]}), r"line 1: alternatives must be a list of texts"),
    "only blank lines": ("\n\n", r"is empty"),
    "latin-1": (records({}).encode() + '{"fact_id": "é"}'.encode("latin-1"), r"line 2: byte 0xe9 is not UTF-8"),
    "no slot": ("\n" + records({}, {"template": "[Y]"}), r"line 3: the template has no \[X\]"),
}


@pytest.mark.parametrize("kind", BROKEN_JSONL)
def test_broken_jsonl_error_names_line_and_cause(tmp_path: Path, kind: str) -> None:
    text, message = BROKEN_JSONL[kind]
    with pytest.raises(UserError, match=message):
        load(write(tmp_path, text, "facts.jsonl"))


def test_broken_parquet_error_names_row_and_cause(tmp_path: Path) -> None:
    frame = load(write(tmp_path, BILINGUAL)).frame
    path = tmp_path / "facts.parquet"
    for broken, message in (
        (frame.drop("object"), "column object missing"),
        (frame.with_columns(object=pl.lit(5)), "column object must be text, it is Int32"),
        (frame.with_columns(object=pl.lit([5])), r"column object must be text, it is List\(Int"),
        (frame.with_columns(object=pl.lit([], dtype=pl.List(pl.String))), r"row 1: object is empty"),
        (frame.clear(), "has columns but no rows"),
        (frame.with_columns(template=pl.lit("[X]")), r"facts\.parquet, row 1: the template has no \[Y\]"),
    ):
        broken.write_parquet(path)
        with pytest.raises(UserError, match=message):
            load(str(path))
    path.write_text("no parquet")
    with pytest.raises(UserError, match="not a Parquet file"):
        load(str(path))


def test_dictionary_encoded_parquet_is_text(tmp_path: Path) -> None:
    frame = load(write(tmp_path, BILINGUAL)).frame
    frame.with_columns(pl.col("relation", "lang").cast(pl.Categorical)).write_parquet(tmp_path / "f.parquet")
    assert load(str(tmp_path / "f.parquet")).frame.equals(frame)


def test_a_file_of_two_gigabytes_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "facts.csv"
    with path.open("wb") as stream:
        stream.truncate(2 << 30)
    with pytest.raises(UserError, match=r"has 2\.0 GiB, more than the 1 GiB .* store it as Parquet"):
        load(str(path))


def test_load_lists_the_accepted_forms_for_an_unknown_spec(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"missing\.csv: no such file"):
        load(str(tmp_path / "missing.csv"))
    with pytest.raises(
        UserError, match=r"is a directory that looks like no dataset that is known; give demo, agreement, mlama:DIR"
    ):
        load(str(tmp_path))
    for spec in ("", "wiki", "mlama:", "facts.xlsx"):
        with pytest.raises(UserError):
            load(spec)


def test_randomly_damaged_files_give_a_frame_or_a_user_error(tmp_path: Path) -> None:
    rng = random.Random(7)
    for name, text in (("f.csv", BILINGUAL), ("f.jsonl", records({}, {}, {}))):
        for _ in range(150):
            data = bytearray(text.encode())
            for _ in range(rng.randint(1, 4)):
                place = rng.randrange(len(data))
                data[place : place + rng.randint(0, 2)] = bytes([rng.choice(b'",\n\r[]{}\x00\xffX:;')])
            try:
                frame = load(write(tmp_path, bytes(data), name)).frame
            except UserError as error:
                assert name in str(error)
            else:
                assert frame.select(COLUMNS).null_count().sum_horizontal().item() == 0

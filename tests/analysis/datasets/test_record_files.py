"""CounterFact, zsRE and PopQA are read as their files are published; so are JSON arrays, .gz and tables with other names."""

import csv
import gzip
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from knscope.analysis.datasets import COLUMNS, Dataset, files, hub, load
from knscope.store.errors import UserError


def prompts(dataset: Dataset) -> list[tuple[str, ...]]:
    return dataset.frame.select("fact_id", "template", "subject", "object").rows()


def reasons(dataset: Dataset) -> list[tuple[str, str]]:
    return dataset.report.select("reason", "example").rows()


def written(path: Path, records: object) -> Path:
    path.write_text(json.dumps(records), encoding="utf-8")
    return path


def edit(case: int, prompt: object, subject: object, true: object, relation: object = "P36") -> dict[str, Any]:
    rewrite = {
        "prompt": prompt,
        "relation_id": relation,
        "subject": subject,
        "target_new": {"str": "Oslo", "id": "Q585"},
    }
    noise = {
        "paraphrase_prompts": [f"It rained. {subject}'s capital,"],
        "neighborhood_prompts": ["The capital of Nepal is"],
    }
    return {"case_id": case, "pararel_idx": 5, "requested_rewrite": {**rewrite, "target_true": true}, **noise}


LIMA = {"str": "Lima", "id": "Q2868"}


def test_counterfact_asks_the_true_fact_on_the_prompt_of_its_rewrite(tmp_path: Path) -> None:
    records = [
        edit(7, "The capital of {} is", "Peru", LIMA),
        edit(8, "{}, governed from", "Chad", {"str": "N'Djamena"}),
    ]
    dataset = load(f"counterfact:{written(tmp_path / 'counterfact.json', records)}")
    assert prompts(dataset) == [
        ("P36-7", "The capital of [X] is [Y]", "Peru", "Lima"),
        ("P36-8", "[X], governed from [Y]", "Chad", "N'Djamena"),
    ]
    assert dataset.frame["object_uri"].to_list() == ["Q2868", None]
    assert dataset.report.is_empty()


@pytest.mark.parametrize(
    ("record", "reason", "example"),
    [
        (edit(9, "The capital of Peru is", "Peru", LIMA), "no-subject-slot", "The capital of Peru is [Y]"),
        (edit(9, ["{}"], "Peru", LIMA), "no-subject-slot", "[Y]"),
        (edit(9, "{} is", 5, LIMA), "not-text", "subject 5"),
        (edit(9, "{} is", "Peru", {"str": 5}), "not-text", "target_true 5"),
        (edit(9, "{} is", "Peru", "Lima"), "empty-answer", "Peru → ?"),
        *(
            (edit(9, "{} is", "Peru", LIMA, relation=relation), "not-text", "it names no relation")
            for relation in (36, "", "P36,P37", "P\x9b36", "\ud800")
        ),
        (edit(9, "{} is", "Pe\x1b[2Jru", LIMA), "control-character", "Pe\x1b[2Jru → Lima"),
        (edit(7, "{} is", "Peru", {"str": "Cuzco"}), "duplicate-id", "Peru → Cuzco"),
        ({"requested_rewrite": "edit"}, "not-text", "it names no relation"),
        ({"case_id": 9}, "not-text", "requested_rewrite is missing"),
    ],
)
def test_a_record_that_cannot_be_used_is_reported_with_its_place(
    tmp_path: Path, record: dict[str, Any], reason: str, example: str
) -> None:
    path = written(tmp_path / "counterfact.json", [edit(7, "The capital of {} is", "Nepal", LIMA), record])
    dataset = load(f"counterfact:{path}")
    assert reasons(dataset) == [(reason, f"counterfact.json, record 2: {example}")]
    assert dataset.frame["subject"].to_list() == ["Nepal"]


ROME = {
    "subject": "Watts Humphrey",
    "src": "What university did Watts Humphrey attend?",
    "pred": "Trinity College",
    "rephrase": "At which university was Watts Humphrey?",
    "alt": "University of Michigan",
    "answers": ["Illinois Institute of Technology", "Chicago"],
    "loc": "nq question: who sang it",
    "loc_ans": "Bono",
    "cond": "Trinity College >> University of Michigan || What university did Watts Humphrey attend?",
}


def test_zsre_of_rome_asks_its_questions_with_the_answer_after_them(tmp_path: Path) -> None:
    path = written(tmp_path / "zsre_mend_eval.json", [ROME, {**ROME, "subject": "Bono"}])
    dataset = load(f"zsre:{path}")
    assert prompts(dataset) == [
        (
            "what-university-did-attend-0",
            template,
            "Watts Humphrey",
            "Illinois Institute of Technology",
        )
        for template in ("Q: What university did [X] attend? A: [Y]", "Q: At which university was [X]? A: [Y]")
    ]
    assert dataset.frame["alternatives"].to_list() == [["Chicago"]] * 2
    assert reasons(dataset) == [("not-text", "zsre_mend_eval.json, record 2: it names no relation")]


def test_zsre_of_mend_takes_the_page_of_the_answer_as_the_subject_and_no_wrong_answer_as_right(tmp_path: Path) -> None:
    page = {"wikipedia_id": "547618", "title": "Watts Humphrey"}
    record = {
        "id": "e6",
        "input": "What university did Watts Humphrey attend?",
        "output": [{"answer": "Illinois Institute of Technology", "provenance": [page]}, {"answer": "IIT"}],
        "prediction": "Trinity College",
        "alternatives": ["Yale University"],
        "filtered_rephrases": ["Which university attended Watts Humphrey?"],
    }
    path = tmp_path / "structured_zeroshot-dev.jsonl"
    unknown = {**record, "input": "Who wrote Emma?"}
    path.write_text(json.dumps(record) + "\n" + json.dumps(unknown) + "\n" + json.dumps({**record, "output": 5}) + "\n")
    dataset = load(f"zsre:{path}")
    assert [row[1:] for row in prompts(dataset)] == [
        ("Q: What university did [X] attend? A: [Y]", "Watts Humphrey", "Illinois Institute of Technology")
    ]
    assert dataset.frame["alternatives"].to_list() == [["IIT"]]
    assert dataset.report["count"].sum() == 2


HEADER = "id\tsubj\tprop\tobj\tsubj_id\tprop_id\tobj_id\ts_aliases\to_aliases\ts_uri\to_uri\ts_pop\to_pop\tquestion\tpossible_answers"
POPQA = (
    '12\tBono\tplace of birth\tDublin\t1\t2\t3\t"[""Paul""]"\t"[""Baile""]"\thttp://www.wikidata.org/entity/Q834621\t'
    "http://www.wikidata.org/entity/Q1761\t142\t25692\tIn what city was Bono born?\t"
    '"[""Dublin"", ""Dublin city""]"'
)


def test_popqa_asks_its_questions_and_keeps_all_right_answers(tmp_path: Path) -> None:
    path = tmp_path / "popQA.tsv"
    path.write_text(f"{HEADER}\n{POPQA}\n{POPQA.rpartition(chr(9))[0]}\tDublin\n")
    dataset = load(f"popqa:{path}")
    assert prompts(dataset) == [("place-of-birth-12", "Q: In what city was [X] born? A: [Y]", "Bono", "Dublin")]
    row = dataset.frame.row(0, named=True)
    assert (row["subject_uri"], row["object_uri"], row["alternatives"]) == ("Q834621", "Q1761", ["Dublin city"])
    (reason, example) = reasons(dataset)[0]
    assert reason == "not-text"
    assert example.startswith('popQA.tsv, line 3: possible_answers {"not JSON"')


def test_load_suggests_the_kind_of_a_file(tmp_path: Path) -> None:
    edits = written(tmp_path / "edits.json", [edit(7, "The capital of {} is", "Peru", LIMA)])
    questions = written(tmp_path / "questions.json", [ROME])
    with pytest.raises(UserError, match=f"it looks like counterfact: write counterfact:{edits}"):
        load(str(edits))
    with pytest.raises(UserError, match=f"requested_rewrite needed.*\nit looks like zsre: write zsre:{questions}"):
        load(f"counterfact:{questions}")
    with pytest.raises(UserError, match="no such file"):
        load("popqa:nowhere.tsv")
    with pytest.raises(UserError, match="language 'fr' is not in the data; it has en"):
        load(f"zsre:{questions}", langs=["fr"])


ROW = dict(zip(COLUMNS, ("tz", "P36", "en", "The capital of [X] is [Y]", "Tanzania", "Dodoma"), strict=True))
KENYA = {**ROW, "fact_id": "ke", "subject": "Kenya", "object": "Nairobi"}
OTHER_NAMES = {"subject": "s", "object": "Answer", "fact_id": "n"}
COLUMN_OPTIONS = [f"{ours}={theirs}" for ours, theirs in OTHER_NAMES.items()]


def save(path: Path, records: list[dict[str, Any]]) -> Path:
    frame = pl.DataFrame(records)
    if ".parquet" in path.name:
        frame.write_parquet(path)
        return path
    text = {
        ".csv": frame.write_csv,
        ".tsv": lambda: frame.write_csv(separator="\t"),
        ".jsonl": frame.write_ndjson,
        ".json": lambda: json.dumps(records),
    }[files.form(path)]()
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


TEXT = [f"facts{form}{packed}" for form in (".csv", ".tsv", ".jsonl", ".json") for packed in ("", ".gz")]


@pytest.mark.parametrize("name", [*TEXT, "facts.parquet"])
def test_every_form_of_a_table_holds_the_same_facts_whatever_its_columns_are_called(tmp_path: Path, name: str) -> None:
    expected = load(str(save(tmp_path / "plain.csv", [ROW, KENYA]))).frame
    assert load(str(save(tmp_path / name, [ROW, KENYA]))).frame.equals(expected)
    names = {ours: OTHER_NAMES.get(ours, ours) for ours in COLUMNS}
    renamed = [{names[ours]: cell for ours, cell in row.items()} | {"subject": "a note"} for row in (ROW, KENYA)]
    path = save(tmp_path / f"renamed-{name}", renamed)
    assert load(str(path), columns=COLUMN_OPTIONS).frame.equals(expected)
    with pytest.raises(UserError, match=r"fact_id.* missing.*--column fact_id=NAME"):
        load(str(path))
    with pytest.raises(UserError, match="--column object=answers: there is no column 'answers', but"):
        load(str(path), columns=["object=answers"])


def test_columns_are_for_tables_of_ones_own() -> None:
    for spec in ("demo", "mlama:somewhere"):
        with pytest.raises(UserError, match="--column names the columns of a table of your own"):
            load(spec, columns=["subject=s"])


@pytest.mark.parametrize("wrong", [["subject"], ["subject="], ["name=s"], ["subject=s", "subject=t"]])
def test_a_column_option_names_one_of_ours_once(tmp_path: Path, wrong: list[str]) -> None:
    with pytest.raises(UserError, match=f"--column {wrong[-1]}: write one of ours, each once"):
        load(str(save(tmp_path / "facts.csv", [ROW])), columns=wrong)


BROKEN: dict[str, tuple[str, str]] = {
    "not JSON": ('[{"fact_id": 1}\n, {"a" 2}]', r"facts\.json, line 2: not valid JSON: .* at column 8"),
    "JSON lines": ('{"a": 1}\n{"a": 2}\n', r"line 2: .*a file with one object a line is called \.jsonl"),
    "one object": ('{"a": 1}', r"a JSON array of objects is needed, dict is there"),
    "an array of numbers": ("[1]", r"record 1: expected a JSON object, found int"),
    "a wrong cell": (json.dumps([ROW, {**KENYA, "object": 5}]), r"record 2: object must be a string, not 5"),
    "no slot": (json.dumps([ROW, {**KENYA, "template": "[X]"}]), r"facts\.json, record 2: the template has no \[Y\]"),
    "empty": ("[]", r"facts\.json is empty"),
    "latin-1": ('[\n"é', r"facts\.json, line 2: byte 0xe9 is not UTF-8"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_json_array_error_names_record_and_cause(tmp_path: Path, kind: str) -> None:
    text, message = BROKEN[kind]
    path = tmp_path / "facts.json"
    path.write_bytes(text.encode("latin-1" if kind == "latin-1" else "utf-8"))
    with pytest.raises(UserError, match=message):
        load(str(path))


def test_a_gz_that_is_cut_off_or_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "facts.csv.gz", [ROW, KENYA] * 50)
    whole = path.read_bytes()
    for broken in (whole[:-20], whole[:40] + b"\xff" * 9 + whole[49:]):
        path.write_bytes(broken)
        with pytest.raises(UserError, match=r"facts\.csv\.gz: not a whole gzip file"):
            load(str(path))
    path.write_bytes(whole)
    monkeypatch.setattr(files, "MAX_TEXT_BYTES", 1000)
    with pytest.raises(UserError, match=r"facts\.csv\.gz holds more than the .* store it as Parquet"):
        load(str(path))


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("facts.xlsx", "a spreadsheet; save it as CSV"),
        ("facts.ods", "a spreadsheet; save it as CSV"),
        ("facts.pkl", 'never opened here; where you trust it: python -c "import pandas'),
        ("facts.pth", "never opened here"),
        ("facts.zip", "an archive; unpack it (unzip "),
        ("facts.tar.gz", "an archive; unpack it (tar -xf "),
        ("facts.arrow", "polars.read_ipc("),
        ("facts.csv.bz2", "bunzip2 "),
        ("facts.txt", "no table"),
    ],
)
def test_a_form_that_is_not_read_gets_the_step_that_makes_it_readable(tmp_path: Path, name: str, step: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"\x80\x04")
    for spec in (str(path), f"counterfact:{path}"):
        with pytest.raises(UserError) as raised:
            load(spec)
        assert step in str(raised.value)
        assert str(path) in str(raised.value)


PAGE, POINTER = (
    "\n<!DOCTYPE html>\n<html><title>facts</title>\n",
    "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n",
)


@pytest.mark.parametrize(
    "name", ["facts.csv", "facts.tsv", "facts.jsonl", "facts.json", "facts.parquet", "facts.csv.gz"]
)
@pytest.mark.parametrize(
    ("content", "step"),
    [
        (PAGE.encode(), "is a web page; download the file itself"),
        (POINTER.encode(), "is a pointer of Git LFS .*; fetch the file itself: git lfs pull"),
        (b"404: Not Found", "what a server says that does not have the file"),
        (
            b"PK\x03\x04\x14\x00[Content_Types].xml",
            "is a .zip archive or a spreadsheet, .*; unpack it, or save it as CSV",
        ),
        (b"\x80\x04\x95\x10\x00", r"is a pickle, .*pandas.read_pickle"),
    ],
)
def test_a_file_that_is_something_else_than_its_name_says_gets_the_step(
    tmp_path: Path, name: str, content: bytes, step: str
) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    for spec in (str(path), *(f"{kind}:{path}" for kind in ("counterfact", "zsre", "popqa") if path.suffix != ".gz")):
        with pytest.raises(UserError, match=rf"^{path} {step}" if step.startswith("is") else step):
            load(spec)


def test_a_file_with_the_wrong_ending_is_told_the_right_one(tmp_path: Path) -> None:
    (tmp_path / "plain.csv.gz").write_text("fact_id,relation")
    (tmp_path / "packed.jsonl").write_bytes(gzip.compress(b"{}"))
    (tmp_path / "columns.csv").write_bytes(b"PAR1\x15\x04")
    for name, step in (
        ("plain.csv.gz", "take the ending .gz off"),
        ("packed.jsonl", "ending .gz"),
        ("columns.csv", "ending .parquet"),
    ):
        with pytest.raises(UserError, match=step):
            load(str(tmp_path / name))


def test_a_folder_in_which_the_file_is_a_pointer_names_the_file(tmp_path: Path) -> None:
    folder = tmp_path / "mlama" / "en"
    folder.mkdir(parents=True)
    (folder / "P36.jsonl").write_text(POINTER)
    (folder / "templates.jsonl").write_text('{"relation": "P36", "template": "The capital of [X] is [Y] ."}\n')
    with pytest.raises(UserError, match=r"P36\.jsonl is a pointer of Git LFS"):
        load(f"mlama:{folder.parent}")


def test_unreadable_dataset_folders_get_the_step_that_makes_them_readable(tmp_path: Path) -> None:
    split = tmp_path / "saved" / "train"
    split.mkdir(parents=True)
    (tmp_path / "saved" / "dataset_dict.json").write_text('{"splits": ["train"]}')
    for name in ("state.json", "dataset_info.json"):
        (split / name).write_text("{}")
    with pytest.raises(UserError, match="holds the splits train of `datasets`"):
        load(str(tmp_path / "saved"))
    with pytest.raises(UserError, match=f"load_from_disk\\('{split}'\\)"):
        load(str(split))


def damaged(value: Any, rng: random.Random) -> Any:
    """A JSON value of which one part, drawn at random, is gone or another value."""
    if isinstance(value, dict | list) and value and rng.random() < 0.8:
        key = rng.choice(list(value) if isinstance(value, dict) else range(len(value)))
        changed = value.copy()
        if rng.random() < 0.2:
            del changed[key]
        else:
            changed[key] = damaged(value[key], rng)
        return changed
    return rng.choice(
        [None, 5, True, [], {}, "", ["a", 3], [["a"]], {"str": "a"}, "\ud800", "\x1b", "[X] [Y]", "{}", "a, b"]
    )


def test_random_damage_to_published_files_gives_an_error_for_a_person_or_a_sound_frame(tmp_path: Path) -> None:
    rng = random.Random(5)
    mend = {"input": ROME["src"], "output": [{"answer": "IIT", "provenance": [{"title": ROME["subject"]}]}]}
    question = dict(zip(HEADER.split("\t"), next(csv.reader([POPQA], delimiter="\t")), strict=True))
    sample = {
        "prompt_templates": ["<subject> is in <mask>"],
        "samples": [{"subject": "Peru", "object": "Asia", "index": 1}],
    }
    whole = {
        "counterfact": [edit(1, "{} is", "Peru", LIMA)] * 2,
        "zsre": [ROME, ROME],
        "popqa": [question] * 2,
        "klar": sample,
    }
    kept = 0
    for kind, value in [*whole.items(), ("zsre", [mend, mend])] * 60:
        path = tmp_path / kind / "en" / "facts.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        written(path, damaged(value, rng))
        try:
            frame = load(f"{kind}:{tmp_path / kind if kind == 'klar' else path}").frame
        except UserError:
            continue
        kept += 1
        assert frame.select(COLUMNS).null_count().sum_horizontal().item() == 0
        assert frame["template"].str.contains_any(["[X]"]).all() and frame["template"].str.contains_any(["[Y]"]).all()
    assert kept > 60


class Hub:
    """Stands in for the hub: files of one dataset by revision, with what was asked for."""

    def __init__(self, root: Path, files: dict[str, dict[str, int]]) -> None:
        self.root, self.files, self.asked = root, files, []

    def list_repo_tree(self, repository: str, *, recursive: bool, revision: str, repo_type: str) -> list[Any]:
        from huggingface_hub.errors import HfHubHTTPError, RevisionNotFoundError

        assert (recursive, repo_type) == (True, "dataset")
        if repository != "people/facts":
            raise HfHubHTTPError.__bases__[0]("no network")
        if revision not in self.files:
            raise RevisionNotFoundError.__new__(RevisionNotFoundError)
        return [type("File", (), {"path": path, "size": size}) for path, size in self.files[revision].items()]

    def download(self, repository: str, file: str, *, revision: str, repo_type: str) -> str:
        self.asked.append((repository, file, revision, repo_type))
        return str(self.root / file)


@pytest.fixture
def on_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, dict[str, int]]], Hub]:
    def put(files: dict[str, dict[str, int]]) -> Hub:
        there = Hub(tmp_path, files)
        monkeypatch.setattr("huggingface_hub.HfApi", lambda: there)
        monkeypatch.setattr("huggingface_hub.hf_hub_download", there.download)
        return there

    return put


def test_a_dataset_of_the_hub_is_read_from_its_parquet_files(tmp_path: Path, on_hub: Callable[..., Hub]) -> None:
    (tmp_path / "default" / "train").mkdir(parents=True)
    shards = [f"default/train/000{n}.parquet" for n in range(2)]
    for shard, row in zip(shards, (ROW, KENYA), strict=True):
        save(tmp_path / shard, [row])
    there = on_hub({"refs/convert/parquet": {**dict.fromkeys(shards, 9), "README.md": 4}})
    expected = load(str(save(tmp_path / "plain.csv", [ROW, KENYA]))).frame
    for spec in ("hf:people/facts", "hf:people/facts/default/train"):
        assert load(spec).frame.equals(expected)
    assert there.asked[:2] == [("people/facts", shard, "refs/convert/parquet", "dataset") for shard in shards]


def test_a_published_layout_on_the_hub_is_known_by_its_columns(tmp_path: Path, on_hub: Callable[..., Hub]) -> None:
    save(tmp_path / "edits.parquet", [edit(7, "The capital of {} is", "Peru", LIMA)])
    on_hub({"main": {"edits.parquet": 9}})
    assert prompts(load("hf:people/facts")) == [("P36-7", "The capital of [X] is [Y]", "Peru", "Lima")]


def test_hub_failures_are_user_errors(on_hub: Callable[..., Hub]) -> None:
    on_hub({"main": {"a/1.parquet": 9, "b/1.parquet": 9, "c/1.parquet": hub.MAX_BYTES + 1}})
    for spec, message in (
        ("hf:people/facts", "name one of its parts, as in hf:owner/name/a; it has a, b, c"),
        ("hf:people/facts/d", "it has a, b, c"),
        ("hf:people/facts/c", "more than the 1 GiB that are fetched"),
        ("hf:facts", "write hf:owner/name"),
        ("hf:people/other", r"cannot be fetched \(HTTPError\); download its Parquet file"),
    ):
        with pytest.raises(UserError, match=message):
            load(spec)
    on_hub({"main": {"facts.csv": 9}})
    with pytest.raises(UserError, match="has no Parquet files on the hub"):
        load("hf:people/facts")

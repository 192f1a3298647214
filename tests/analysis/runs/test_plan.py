"""Keys, units and main queries."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from knscope.analysis.edits.choose import WantedEdit
from knscope.analysis.errors import ModelError
from knscope.analysis.factcheck import choose as factcheck_choose
from knscope.analysis.factcheck.claims import derange
from knscope.analysis.prompts.encode import Query
from knscope.analysis.runs import planner
from knscope.analysis.runs.config import ModelSource, RunConfig
from knscope.analysis.runs.facts import QUERY_COLUMNS, load_facts
from knscope.analysis.runs.keys import attribution_key, claim_key, edit_key, prediction_key, result_key, scan_key
from knscope.analysis.runs.planner import remaining
from knscope.analysis.runs.units import ROLES, ScanItem, Unit
from knscope.store.errors import UserError


def query(fact: str, template: str = "t", lang: str = "en", relation: str = "R") -> Query:
    return Query(fact, relation, lang, template, f"s-{fact}", f"o-{fact}")


def test_configuration_round_trips_through_json() -> None:
    config = RunConfig((ModelSource("a", ("en",)), ModelSource("b")), "demo", facts=3, methods=("amig", "bkn"))
    assert RunConfig.from_json(config.to_json()) == config


def test_unit_round_trips_through_the_pipe() -> None:
    item = ScanItem(query("1"), (3, 1), ((3, 1.0), (1, 0.5)), ("kn",))
    for unit in (
        Unit("attribute", "m", "amig", (query("1"), query("2"))),
        Unit("scan", "m", "amig", scans=(item,), seed=4),
    ):
        assert Unit.from_json(unit.to_json()) == unit


def test_configuration_errors_are_raised_before_anything_starts() -> None:
    with pytest.raises(UserError, match="--what"):
        RunConfig((ModelSource("a"),), "demo", what=("atribution",))
    with pytest.raises(ModelError, match="unknown method"):
        RunConfig((ModelSource("a"),), "demo", methods=("nope",))
    with pytest.raises(UserError, match="no model"):
        RunConfig((), "demo")


def test_a_model_named_twice_is_run_once_for_all_its_languages() -> None:
    twice = RunConfig((ModelSource("a", ("en",)), ModelSource("b"), ModelSource("a", ("zh", "en"))), "demo")
    assert twice.models == (ModelSource("a", ("en", "zh")), ModelSource("b"))
    for langs in ((("en",), ()), ((), ("en",))):  # none named: all the facts have
        assert RunConfig(tuple(ModelSource("a", one) for one in langs), "demo").models == (ModelSource("a"),)


def test_keys_depend_on_what_a_value_depends_on_and_nothing_else() -> None:
    one = query("1").id
    keys = {
        prediction_key("m", one),
        prediction_key("n", one),
        attribution_key("m", one, "amig"),
        attribution_key("m", one, "bkn"),
        scan_key("m", one, "amig", "kn", 0, [1, 2]),
        scan_key("m", one, "amig", "kn", 0, [1, 3]),
        scan_key("m", one, "amig", "layer_control", 0, [1, 2]),
        scan_key("m", one, "amig", "layer_control", 1, [1, 2]),
    }
    assert len(keys) == 8 and all(len(key) == 32 for key in keys)
    # what a pair ablation of given neurons gives does not depend on the seed of the controls, nor on the order
    assert scan_key("m", one, "amig", "kn", 7, [2, 1]) == scan_key("m", one, "amig", "kn", 0, [1, 2])


def test_controls_drawn_by_the_mean_over_templates_are_not_taken_for_those_outside_n_on_every_one() -> None:
    same = {"method": "amig", "chosen": [1, 2], "operation": "zero"}
    for role in ROLES:
        before = result_key("scan", "m", "q", role=role, **same, **({} if role == "kn" else {"seed": 0}))
        assert (scan_key("m", "q", "amig", role, 0, [1, 2]) == before) == (role == "kn"), role
    matched = {scan_key("m", "q", "amig", "drop_control", seed, [1, 2]) for seed in (0, 1)}
    assert len(matched) == 1, "nothing is drawn where single drops decide"


def test_a_unit_that_fails_can_be_cut_down_to_its_rows() -> None:
    unit = Unit("predict", "m", queries=tuple(query(str(n)) for n in range(5)))
    first, second = unit.halves()
    assert first.queries + second.queries == unit.queries
    assert Unit("predict", "m", queries=(query("1"),)).halves() == ()


def claims_and_edits() -> tuple[Unit, Unit]:
    """A unit of three claims, and one of three reads with four edits between them."""
    asked = [asdict(query(str(n))) for n in range(3)]
    claims = [{"query": one, "main": one, "correct": True, "part": ""} for one in asked]
    edits = [[("zero", (1,), False)], [("mean", (1,), False), ("zero", (2,), True)], [("resample", (3,), False)]]
    reads = [{"query": one, "wrong": None, "edits": found} for one, found in zip(asked, edits, strict=True)]
    sources = {"mean": [asked[0]], "resample": [asked[1]]}
    payload = {"reads": reads, "size": 4, "sources": sources, "irrelevant": [("0", "1", True)]}
    claim = Unit("claim", "m", "amig", payload={"neurons": [1, 2], "claims": claims, "size": 3})
    return claim, Unit("edit", "m", payload=payload)


def test_failed_units_of_claims_and_edits_are_cut_down() -> None:
    claim, edit = claims_and_edits()
    assert [(one.size, one.payload["neurons"]) for one in claim.halves()] == [(1, [1, 2]), (2, [1, 2])]
    assert [one for half in claim.halves() for one in half.payload["claims"]] == claim.payload["claims"]
    first, second = edit.halves()
    assert (first.size, second.size) == (1, 3) and first.halves() == ()
    assert [*first.payload["reads"], *second.payload["reads"]] == edit.payload["reads"]
    assert first.payload["sources"] == {} and second.payload["sources"] == edit.payload["sources"]
    assert first.payload["irrelevant"] == second.payload["irrelevant"] == edit.payload["irrelevant"]


def test_rest_of_a_unit_is_what_the_store_has_no_key_of() -> None:
    claim, edit = claims_and_edits()
    chosen = ScanItem(query("1"), (3, 1), (), ("kn", "drop_control"))
    ids = [query(str(n)).id for n in range(3)]
    stored = {
        prediction_key("h", ids[0]),
        attribution_key("h", ids[1], "amig"),
        scan_key("h", ids[1], "amig", "kn", 4, (1, 3)),
        claim_key("h", ids[2], "amig", (2, 1)),
        edit_key("h", ids[0], (1,), "zero"),
        edit_key("h", ids[1], (2,), "zero"),
    }
    three = tuple(query(str(n)) for n in range(3))

    def left(unit: Unit) -> Unit | None:
        found = remaining(unit, "h", lambda _, keys: stored & set(keys))
        assert found is None or remaining(found, "h", lambda _, keys: stored & set(keys)) is found
        return found

    assert left(Unit("predict", "m", queries=three)) == Unit("predict", "m", queries=three[1:])
    assert left(Unit("attribute", "m", "amig", three)) == Unit("attribute", "m", "amig", (three[0], three[2]))
    assert left(Unit("attribute", "m", "amig", three[1:2])) is None
    scan = Unit("scan", "m", "amig", scans=(chosen,), seed=4)
    assert left(scan) == replace(scan, scans=(replace(chosen, roles=("drop_control",)),))
    claims, edits = left(claim), left(edit)
    assert claims is not None and claims.payload["claims"] == claim.payload["claims"][:2] and claims.size == 2
    assert edits is not None and edits.size == 2
    assert [read["edits"] for read in edits.payload["reads"]] == [[("mean", (1,), False)], [("resample", (3,), False)]]
    assert Unit.from_json(json.loads(json.dumps(edits.to_json()))).halves()[0].size == 1


def test_the_parts_of_the_facts_are_all_of_them_once_and_even_over_relations() -> None:
    whole = RunConfig((ModelSource("m"),), "demo", facts=24, what=("attribution",))
    rows = load_facts(whole).rows
    parts = [load_facts(replace(whole, part=f"{number}/4")).rows for number in range(1, 5)]
    assert sorted(row.id for part in parts for row in part) == sorted(row.id for row in rows)
    assert all(len({row.relation for row in part}) == 4 for part in parts)
    facts = [{row.fact for row in part} for part in parts]
    assert [len(part) for part in facts] == [6] * 4 and len(set.union(*facts)) == 24
    assert load_facts(replace(whole, part="1/1")).rows == rows
    with pytest.raises(UserError, match="fewer facts than 25"):
        load_facts(replace(whole, part="25/25"))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        *(
            ({"part": part}, "write which part of how many")
            for part in ("0/4", "5/4", "1", "a/b", "1/4/2", " 1/4", "-1/4")
        ),
        ({"part": "1/4", "what": ("attribution", "dkn")}, "dkn is chosen by all facts"),
        ({"part": "1/4", "methods": ("amig+baseline=mean",)}, "starts from other facts"),
    ],
)
def test_a_part_holds_only_what_depends_on_no_other_facts(changes: dict[str, object], why: str) -> None:
    with pytest.raises(UserError, match=why):
        replace(RunConfig((ModelSource("m"),), "demo", what=("attribution",)), **changes)


def test_the_demo_takes_facts_of_all_relations_in_turn() -> None:
    facts = load_facts(RunConfig((ModelSource("m"),), "demo", facts=8, langs=("en", "zh")))
    first = dict.fromkeys(row.fact for row in facts.rows)
    assert len(first) == 8 and len({fact.split("-")[0] for fact in list(first)[:4]}) == 4
    assert {row.lang for row in facts.rows} == {"en", "zh"}


BORDERS = """fact_id,relation,lang,template,subject,object,alternatives
pe,P47,en,[X] borders [Y],Peru,Chile,Brazil|Bolivia
es,P47,en,[X] borders [Y],Spain,France,
br,P47,en,[X] borders [Y],Guyana,Brazil,
bo,P47,en,[X] borders [Y],Chile,Bolivia,
"""


@pytest.fixture
def borders(tmp_path: Path) -> list[Query]:
    (tmp_path / "borders.csv").write_text(BORDERS, encoding="utf-8")
    return list(load_facts(RunConfig((ModelSource("m"),), str(tmp_path / "borders.csv"))).rows)


def test_alternatives_travel_with_a_query_and_are_not_part_of_its_id(borders: list[Query]) -> None:
    peru = borders[0]
    assert peru.alternatives == ("Bolivia", "Brazil")
    assert Query(*(getattr(peru, name) for name in QUERY_COLUMNS)) == peru
    unit = Unit("predict", "m", queries=tuple(borders))
    through_the_pipe = Unit.from_json(json.loads(json.dumps(unit.to_json())))
    assert [row.alternatives for row in through_the_pipe.queries] == [row.alternatives for row in borders]


def test_a_wrong_object_is_never_another_right_answer(borders: list[Query]) -> None:
    wanted = [WantedEdit("1", "amig", "en", row.fact, (1,), (row,)) for row in borders]
    wrong = {query.fact: one for query, one in planner.wrong_objects(wanted).items()}
    assert wrong == {"pe": "France", "es": "Bolivia", "br": "Chile", "bo": "Brazil"}
    right = factcheck_choose.right_answers(
        {(row.fact, "en"): row for row in borders}, {r.fact: r.subject for r in borders}
    )
    assert right["P47", "en", "Peru"] == {"Chile", "Brazil", "Bolivia"}
    for seed in range(20):
        dealt = derange([row.object for row in borders], [right["P47", "en", row.subject] for row in borders], seed)
        assert dealt[0] in (None, "France")


def test_solved_examples_stand_before_every_prompt_and_are_not_asked(tmp_path: Path) -> None:
    lines = [
        f"{n},P36,{lang},{template},s{n},o{n}"
        for n in range(6)
        for lang, template in (("en", "the capital of [X] is [Y]"), ("en", "[Y] rules [X]"), ("zh", "[X]的首都是[Y]"))
    ]
    data = tmp_path / "facts.csv"
    data.write_text("fact_id,relation,lang,template,subject,object\n" + "\n".join(lines) + "\n", encoding="utf-8")
    config = RunConfig((ModelSource("m"),), str(data), shots=2, prefix="Go on:\n")
    rows = load_facts(config).rows
    shown = {str(n) for n in range(6)} - {row.fact for row in rows}
    assert len(shown) == 2 and len(rows) == 4 * 3
    assert len({row.prefix for row in rows}) == 3, "one text for each language and template"
    for row in rows:
        first, *examples = row.prefix.splitlines()
        assert first == "Go on:" and row.prefix.endswith("\n")
        assert set(examples) == {row.template.replace("[X]", f"s{n}").replace("[Y]", f"o{n}") for n in shown}
    assert load_facts(config).rows == rows
    some = load_facts(replace(config, facts=3)).rows
    assert len({row.fact for row in some}) == 3, (
        "examples are taken from facts that are not asked, where there are such"
    )
    one = load_facts(replace(config, fact_ids=("4",))).rows
    assert {row.fact for row in one} == {"4"} and all("s4" not in row.prefix for row in one)
    with pytest.raises(UserError, match="too few"):
        load_facts(replace(config, shots=6))

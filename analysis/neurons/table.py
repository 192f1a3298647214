"""Neurons as tables: those of a selection, those that promote a token, and everything stored of one."""

from __future__ import annotations

import re

from knscope.analysis.neurons import activations
from knscope.analysis.neurons.notes import Note, latest_sql, read
from knscope.analysis.statistics.table import Table
from knscope.store.errors import UserError
from knscope.store.reader import Reader
from knscope.store.view import View, sql_literal

_ADDRESS = re.compile(r"(\d{1,4}):(\d{1,7})")
KINDS = (
    "shares of the other facts with that answer, with that relation and another answer, and of other relations, in the same language, "
    "that a neuron serves besides one that it serves; among neurons a high last one marks a hub"
)
UNWIRED = "what this neuron reads is not stored: knscope run ... --what neurons reads those with rel >= 0.1 somewhere, or a note"
READS = (
    "reads: tokens whose embedding, behind the norm of the block, raises the input of the activation function most; up: those that "
    "move the other factor of a gated MLP most; near: neurons with the largest cosine of the output vectors"
)
HOW = "promotes: tokens whose logits the neuron's output vector raises most, read off the weights; strongest first"
COMPANY = (
    "together: facts and languages that both are knowledge neurons of, of places in all; pairs: degenerate ones with it"
)
UNREAD = "what neurons promote is not read yet: knscope run ... --what neurons"


def parse_address(text: str) -> tuple[int, int]:
    """(layer, neuron) of text like 12:345, both from 0. Raises UserError for anything else."""
    match = _ADDRESS.fullmatch(text.strip())
    if match is None:
        raise UserError(f"{text!r} is not a neuron; write layer:neuron, both from 0, as in 12:345")
    return int(match[1]), int(match[2])


def neurons(reader: Reader, view: View, layer: int | None = None, promotes: str = "") -> Table:
    """The knowledge neurons of the View, those that serve the most facts first; with `promotes` every neuron of the model that
    has this token among those it promotes most, the one that raises it most first.
    """
    sql = promoting_sql(reader, view, promotes) if promotes else list_sql(reader, view, layer)
    frame = reader.sql(sql)
    read = bool(reader.sql(f"SELECT 1 FROM vocabulary WHERE model = {sql_literal(view.model)} LIMIT 1").height)
    title = f"neurons that promote {promotes!r}" if promotes else "neurons by the facts they serve"
    return Table(
        "neurons",
        f"{title}: {view.model}, {view.method}",
        frame,
        (HOW if read else UNREAD, *(() if promotes else (KINDS,))),
        ("seen",),
    )


def neuron(reader: Reader, view: View, layer: int, place: int) -> tuple[Table, ...]:
    """Tables of one neuron: every fact and language of the View that it serves, the neurons beside it there, what it writes and
    reads, how often it serves other facts by kind, where it fires, and the queries on which it fires most and least.

    :raises UserError: the model has no such neuron
    """
    check_neuron(reader, view.model, layer, place)
    writes = reader.sql(writes_sql(view.model, layer, place))
    name = f"{layer}:{place} of {view.model}"
    serves = reader.sql(one_sql(reader, view, layer, place))
    reads = reader.sql(reads_sql(view.model, layer, place))
    kinds = reader.sql(f"FROM ({kinds_sql(reader, view)}) WHERE layer = {layer} AND neuron = {place}")
    fired = activations.fires(reader, view, layer, place)
    return (
        Table(
            "serves",
            f"facts that neuron {name} serves, {view.method}",
            serves,
            _noted(read(reader, view.model, layer, place)),
        ),
        Table(
            "company",
            f"neurons beside {name}",
            reader.sql(company_sql(reader, view, layer, place)).head(20),
            (COMPANY,),
        ),
        Table("writes", f"what neuron {name} writes", writes, (HOW if writes.height else UNREAD,), ("length", "seen")),
        Table("reads", f"what neuron {name} reads", reads, (READS if reads.height else UNWIRED,)),
        Table("kinds", f"other facts that neuron {name} serves too", kinds, (KINDS,)),
        activations.histograms(fired, name),
        activations.extremes(fired, name),
    )


def _noted(note: Note) -> tuple[str, ...]:
    tags = f"tags: {', '.join(note.tags)}" if note.tags else ""
    return tuple(filter(None, (note.name, tags, note.text)))


def check_neuron(reader: Reader, model: str, layer: int, place: int) -> None:
    """Raises UserError where the model has no such neuron, with what it has."""
    width = reader.sql(f"SELECT width FROM site WHERE model = {sql_literal(model)} AND layer = {layer}")["width"]
    if not len(width) or place >= width[0]:
        there = f"layer {layer} has {width[0]:,} neurons" if len(width) else f"it has no layer {layer}"
        raise UserError(f"{model} has no neuron {layer}:{place}: {there}")


def writes_sql(model: str, layer: int, neuron: int) -> str:
    """One row a token: its rank, the token promoted and by how much, and the token suppressed; none where it is not read."""
    return f"""\
SELECT unnest(range(1, len(promotes) + 1)) AS rank, unnest(promotes) AS promotes, unnest(promotes_by) AS promotes_by,
    unnest(suppresses) AS suppresses, unnest(suppresses_by) AS suppresses_by, length, seen
FROM promoted JOIN vocabulary USING (key)
WHERE model = {sql_literal(model)} AND layer = {layer} AND neuron = {neuron}"""


def reads_sql(model: str, layer: int, neuron: int) -> str:
    """One row a rank: the tokens read by either row of the MLP, and the neuron whose output vector is that near."""
    return f"""\
SELECT unnest(range(1, len(near_by) + 1)) AS rank, unnest(reads) AS reads, unnest(reads_by) AS reads_by, unnest(up) AS up,
    unnest(up_by) AS up_by, unnest(list_transform(list_zip(near_layers, near_neurons), lambda n: n[1] || ':' || n[2])) AS near,
    unnest(near_by) AS near_by
FROM wiring WHERE model = {sql_literal(model)} AND layer = {layer} AND neuron = {neuron}"""


def kinds_sql(reader: Reader, view: View) -> str:
    """For every knowledge neuron of the View the shares of other facts, by kind, that it serves besides one that it serves.

    With c, r and l the facts of a language that it serves with an answer, with its relation, and in all, and C, R and L all there are:
    same_answer = Σ c (c - 1) / Σ c (C - 1), same_relation = Σ c (r - c) / Σ c (R - C), other_relation = Σ c (l - r) / Σ c (L - R),
    summed over languages, relations and answers. Null where there is no such fact.
    """
    return f"""\
WITH f AS MATERIALIZED (
    SELECT fact, lang, relation, first(object ORDER BY query) AS object FROM ({reader.macro_sql("queries", view)})
    WHERE n_kn IS NOT NULL GROUP BY ALL
),
a AS (
    SELECT lang, relation, object, n, sum(n) OVER (PARTITION BY lang, relation) AS in_relation, sum(n) OVER (PARTITION BY lang) AS in_all
    FROM (SELECT lang, relation, object, count(*) AS n FROM f GROUP BY ALL)
),
c AS (
    SELECT layer, neuron, lang, f.relation, object, count(*) AS c
    FROM ({reader.macro_sql("kn", view)}) k JOIN f USING (fact, lang) GROUP BY ALL
),
s AS (
    SELECT *, sum(c) OVER (PARTITION BY layer, neuron, lang, relation) AS r, sum(c) OVER (PARTITION BY layer, neuron, lang) AS l FROM c
)
SELECT layer, neuron, sum(c * (c - 1)) / nullif(sum(c * (n - 1)), 0) AS same_answer,
    sum(c * (r - c)) / nullif(sum(c * (in_relation - n)), 0) AS same_relation,
    sum(c * (l - r)) / nullif(sum(c * (in_all - in_relation)), 0) AS other_relation
FROM s JOIN a USING (lang, relation, object) GROUP BY ALL"""


def promoting_sql(reader: Reader, view: View, token: str) -> str:
    """Neurons of the whole model that have `token`, spaces around it aside, among those they promote most."""
    wanted = sql_literal(token.strip())
    return f"""\
WITH w AS (
    SELECT layer, neuron, promotes, seen, list_position(list_transform(promotes, lambda t: trim(t)), {wanted}) AS rank, promotes_by
    FROM promoted JOIN vocabulary USING (key) WHERE model = {sql_literal(view.model)}
),
k AS (SELECT layer, neuron, count(DISTINCT fact) AS facts FROM ({reader.macro_sql("kn", _whole(view))}) GROUP BY ALL)
SELECT layer, neuron, rank, promotes_by[rank] AS "by", coalesce(facts, 0) AS facts, promotes, seen
FROM w LEFT JOIN k USING (layer, neuron) WHERE rank > 0 ORDER BY "by" DESC, layer, neuron"""


def list_sql(reader: Reader, view: View, layer: int | None = None, column: str = "", last: int | None = None) -> str:
    """The knowledge neurons of a layer (None: of all), those that serve the most facts first. `facts` and the shares of other facts count
    all facts of the View's relations, also where the View is narrowed to some.

    :param column: only those of a language, those shared by all languages (`LIKN`), or those in degenerate pairs (`DKN`)
    :param last: the layers from `layer` to this one
    """
    conditions = [] if layer is None else [f"layer BETWEEN {layer} AND {layer if last is None else last}"]
    if column in view.langs:
        conditions.append(f"lang = {sql_literal(column)}")
    whole = _whole(view)
    every = "k" if whole == view else f"({reader.macro_sql('kn', whole)})"
    having = {"LIKN": "WHERE all_langs > 0", "DKN": "WHERE pairs > 0"}.get(column, "")
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    return f"""\
WITH k AS MATERIALIZED ({reader.macro_sql("kn", view)}),
shared AS (SELECT fact, layer, neuron FROM k GROUP BY ALL HAVING count(*) = {len(view.langs)} AND {len(view.langs)} > 1),
d AS MATERIALIZED ({_degenerate(reader, view)}),
n AS (SELECT layer, neuron, string_agg(DISTINCT lang, ' ' ORDER BY lang) AS langs, count(DISTINCT lang) AS n_langs, avg(rel) AS rel
      FROM k {where} GROUP BY ALL),
f AS (SELECT layer, neuron, count(DISTINCT fact) AS facts FROM {every} {where} GROUP BY ALL),
l AS (SELECT layer, neuron, count(*) AS all_langs FROM shared GROUP BY ALL),
p AS (SELECT layer, neuron, count(*) AS pairs FROM d GROUP BY ALL),
w AS (SELECT layer, neuron, promotes, seen FROM promoted JOIN vocabulary USING (key) WHERE model = {sql_literal(view.model)}),
o AS ({latest_sql(view.model)}),
h AS ({kinds_sql(reader, whole)})
SELECT n.layer, n.neuron, facts, langs, n_langs, coalesce(all_langs, 0) AS all_langs, rel, coalesce(pairs, 0) AS pairs,
    same_answer, same_relation, other_relation, promotes, seen, name, tags
FROM n JOIN f USING (layer, neuron) LEFT JOIN h USING (layer, neuron) LEFT JOIN l USING (layer, neuron) LEFT JOIN p USING (layer, neuron)
LEFT JOIN w USING (layer, neuron) LEFT JOIN o USING (layer, neuron) {having}
ORDER BY facts DESC, rel DESC, n.layer, n.neuron"""


def _whole(view: View) -> View:
    return view.with_(facts=(), queries=())


def one_sql(reader: Reader, view: View, layer: int, neuron: int) -> str:
    """Every fact and language that one neuron serves, with its place in the set, its own effect and its pairs."""
    drop = "(s.p - a.p) / nullif(s.p, 0)" if view.drop == "relative" else "s.p - a.p"
    return f"""\
WITH k AS MATERIALIZED ({reader.macro_sql("kn", view)}),
placed AS (SELECT *, rank() OVER (PARTITION BY fact, lang ORDER BY rel DESC) AS place FROM k),
alone AS (
    SELECT q.fact, q.lang, min({drop}) AS drop_p FROM ablation a JOIN scan s USING (key) JOIN query q USING (query)
    WHERE s.model = {sql_literal(view.model)} AND s.method = {sql_literal(view.method)} AND s.role = 'kn' AND a.layer_b IS NULL
      AND a.layer_a = {layer} AND a.neuron_a = {neuron} GROUP BY ALL
),
d AS ({_degenerate(reader, view)}),
p AS (SELECT fact, lang, count(*) AS pairs FROM d WHERE layer = {layer} AND neuron = {neuron} GROUP BY ALL),
words AS (SELECT fact, lang, first(subject) || ' → ' || first(object) AS pair, first(object) AS object FROM query GROUP BY ALL)
SELECT fact, relation, pair, object, lang, rel, share, place, drop_p, coalesce(pairs, 0) AS pairs
FROM placed JOIN words USING (fact, lang) LEFT JOIN alone USING (fact, lang) LEFT JOIN p USING (fact, lang)
WHERE layer = {layer} AND neuron = {neuron}
ORDER BY rel DESC, fact, lang"""


def company_sql(reader: Reader, view: View, layer: int, neuron: int) -> str:
    """Other neurons in N of the same facts and languages, those that share most first, and how often each is a degenerate partner."""
    one = f"layer = {layer} AND neuron = {neuron}"
    return f"""\
WITH k AS MATERIALIZED ({reader.macro_sql("kn", view)}),
together AS (
    SELECT layer, neuron, count(*) AS together FROM k SEMI JOIN (FROM k WHERE {one}) USING (fact, lang) WHERE NOT ({one}) GROUP BY ALL
),
alone AS (SELECT layer, neuron, count(*) AS places FROM k GROUP BY ALL),
d AS MATERIALIZED (FROM ({reader.macro_sql("dkn", view)}) WHERE role = 'kn' AND paper),
partner AS (
    SELECT layer, neuron, count(*) AS pairs FROM (
        SELECT layer_b AS layer, neuron_b AS neuron FROM d WHERE layer_a = {layer} AND neuron_a = {neuron}
        UNION ALL SELECT layer_a, neuron_a FROM d WHERE layer_b = {layer} AND neuron_b = {neuron}
    ) GROUP BY ALL
),
w AS (SELECT layer, neuron, promotes FROM promoted JOIN vocabulary USING (key) WHERE model = {sql_literal(view.model)})
SELECT layer, neuron, together, places, coalesce(pairs, 0) AS pairs, promotes
FROM together JOIN alone USING (layer, neuron) LEFT JOIN partner USING (layer, neuron) LEFT JOIN w USING (layer, neuron)
ORDER BY together DESC, pairs DESC, layer, neuron"""


def _degenerate(reader: Reader, view: View) -> str:
    """SQL: both members of every pair of the paper's kind, one row an end."""
    return (
        f"SELECT fact, lang, unnest([layer_a, layer_b]) AS layer, unnest([neuron_a, neuron_b]) AS neuron "
        f"FROM ({reader.macro_sql('dkn', view)}) WHERE role = 'kn' AND paper"
    )

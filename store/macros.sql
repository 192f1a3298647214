-- Eq. 6-10, and the rows of eq. 11, as table macros: what they mean is written here. Every threshold is an argument. Where a person turns a
-- threshold, sets.py and pairs.py count the same from arrays; tests hold them against these macros.
--
-- Besides the stored tables they read some that the reader keeps for speed: place (a fact in a language, numbered), score_row (table score by
-- number, sorted by rel descending), pair (scanned pairs beside their singles) and counted_scan (which scans count).

-- logit p in natural logarithms. NULL where p is nearer to 0 or 1 than a float32 can tell: models compute in it, and at 1 - p = 1e-5 its steps
-- are 0.01 to 0.03 wide in logit p, at 1e-6 up to 0.2, beyond any interaction that is asked for.
CREATE OR REPLACE MACRO log_odds(p) AS CASE WHEN p BETWEEN 1e-30 AND 1 - 1e-5 THEN ln(p) - ln(1 - p) END;

-- The drop of p after an ablation, relative to p before. NULL where p before is 0: nothing can drop.
CREATE OR REPLACE MACRO drop_of(before, after) AS (before - after) / nullif(before, 0);

-- A threshold below the stored floor would silently miss neurons.
CREATE OR REPLACE MACRO above_floor(tau, floor) AS
    CASE WHEN tau IS NULL THEN error('taus names no τ for one of the languages chosen')
    WHEN tau < floor
    THEN error('τ ' || tau || ' is below ' || floor || ', the floor: no lower rel is kept as rows; ask knscope itself, which reads them from the dense scores')
    ELSE tau END;

-- The attributed queries a View looks at. Empty lists restrict nothing.
CREATE OR REPLACE MACRO chosen(the_model, the_method, the_langs, the_relations, the_facts, the_queries, only_known) AS TABLE
    SELECT a.aq, a.place, p.fact_no, p.lang, a.query, a.floor
    FROM attribution_row a JOIN place p USING (place)
    WHERE a.model = the_model AND a.method = the_method AND list_contains(the_langs, p.lang)
      AND (len(the_relations) = 0 OR list_contains(the_relations, p.relation))
      AND (len(the_facts) = 0 OR list_contains(the_facts, p.fact))
      AND (len(the_queries) = 0 OR list_contains(the_queries, a.query))
      AND (NOT only_known OR a.query IN (SELECT query FROM prediction WHERE model = the_model AND known));

-- Eq. 6-7 by number of the fact and place of the language among those chosen: a neuron is in N of a (fact, language) when rel > τ of that
-- language on at least a share of its attributed queries. Where there is one query nothing needs counting: most stores have one template,
-- and it is much faster.
CREATE OR REPLACE MACRO kn_row(the_model, the_method, the_langs, the_relations, the_facts, the_queries, only_known, taus, template_share) AS TABLE
    WITH c AS MATERIALIZED (
        SELECT aq, place, fact_no, list_position(the_langs, lang) AS lang_no, above_floor(map_extract(taus, lang)[1], floor)::DOUBLE AS tau
        FROM chosen(the_model, the_method, the_langs, the_relations, the_facts, the_queries, only_known)
    ),
    cut AS MATERIALIZED (FROM c JOIN (SELECT place, count(*) AS n FROM c GROUP BY place) USING (place))
    SELECT place, fact_no, lang_no, layer, neuron, rel, 1.0::DOUBLE AS share
    FROM score_row JOIN cut USING (aq)
    WHERE n = 1 AND rel > list_min(map_values(taus)) AND rel > tau
    UNION ALL
    SELECT place, any_value(fact_no), any_value(lang_no), layer, neuron, max(rel) AS rel, count(*) / n AS share
    FROM score_row JOIN cut USING (aq)
    WHERE n > 1 AND rel > list_min(map_values(taus)) AND rel > tau
    GROUP BY place, layer, neuron, n
    HAVING count(*) >= template_share * n - 1e-9;

-- Eq. 6-7: the knowledge neurons of every fact and language; rel is the highest, share the share, over its attributed queries.
CREATE OR REPLACE MACRO kn(the_model, the_method, the_langs, the_relations, the_facts, the_queries, only_known, taus, template_share) AS TABLE
    SELECT p.fact, p.relation, p.lang, k.layer, k.neuron, k.rel, k.share
    FROM kn_row(the_model, the_method, the_langs, the_relations, the_facts, the_queries, only_known, taus, template_share) k
    JOIN place p USING (place);

-- One row a stored (model, query): what the model answers, and, where attributed with the method, its neurons above τ and its residual.
CREATE OR REPLACE MACRO queries(the_model, the_method, the_langs, the_relations, the_facts, the_queries, only_known, taus) AS TABLE
    WITH c AS MATERIALIZED (
        SELECT aq, query, place, above_floor(map_extract(taus, lang)[1], floor)::DOUBLE AS tau
        FROM chosen(the_model, the_method, the_langs, the_relations, the_facts, the_queries, only_known)
    ),
    above AS MATERIALIZED (
        SELECT c.aq, c.query, c.place, s.layer, s.neuron FROM c JOIN score_row s USING (aq)
        WHERE s.rel > list_min(map_values(taus)) AND s.rel > c.tau
    ),
    n AS (SELECT any_value(query) AS query, count(*) AS n FROM above GROUP BY aq),
    hits AS (SELECT place, count(*) AS h FROM above GROUP BY place, layer, neuron),
    several AS (SELECT place, count(*) AS q FROM c GROUP BY place HAVING count(*) > 1),
    stay AS (
        SELECT place, sum(h * (h - 1)) / ((any_value(q) - 1) * sum(h)) AS stays FROM hits JOIN several USING (place) GROUP BY place
    )
    SELECT q.query, q.fact, q.relation, q.lang, q.template, q.subject, q.object, p.p, p.p_root, p.rank, p.known,
        CASE WHEN a.key IS NOT NULL THEN coalesce(n.n, 0) END AS n_kn, a.max_residual AS residual,
        stay.stays
    FROM prediction p
    JOIN query q USING (query)
    LEFT JOIN (FROM attribution WHERE model = the_model AND method = the_method) a ON a.query = p.query
    LEFT JOIN n ON n.query = p.query
    LEFT JOIN c ON c.query = p.query
    LEFT JOIN stay ON stay.place = c.place
    WHERE p.model = the_model AND list_contains(the_langs, q.lang)
      AND (len(the_relations) = 0 OR list_contains(the_relations, q.relation))
      AND (len(the_facts) = 0 OR list_contains(the_facts, q.fact))
      AND (len(the_queries) = 0 OR list_contains(the_queries, q.query))
      AND (NOT only_known OR p.known);

-- Eq. 8 by number of the fact: what the first language has and every other has too.
CREATE OR REPLACE MACRO likn_row(the_model, the_method, the_langs, the_relations, the_facts, the_queries, only_known, taus, template_share) AS TABLE
    WITH k AS MATERIALIZED (
        SELECT fact_no, lang_no, layer, neuron, rel
        FROM kn_row(the_model, the_method, the_langs, the_relations, the_facts, the_queries, only_known, taus, template_share)
    )
    SELECT l.fact_no, l.layer, l.neuron, least(l.rel, min(o.rel)) AS rel, greatest(l.rel, max(o.rel)) AS rel_max
    FROM (FROM k WHERE lang_no = 1) l JOIN (FROM k WHERE lang_no > 1) o USING (fact_no, layer, neuron)
    GROUP BY l.fact_no, l.layer, l.neuron, l.rel
    HAVING count(*) = len(the_langs) - 1;

-- Eq. 8: L, the intersection of N over all chosen languages, per fact; rel and rel_max are the lowest and highest over languages.
CREATE OR REPLACE MACRO likn(the_model, the_method, the_langs, the_relations, the_facts, the_queries, only_known, taus, template_share) AS TABLE
    SELECT f.fact, f.relation, l.layer, l.neuron, l.rel, l.rel_max
    FROM likn_row(the_model, the_method, the_langs, the_relations, the_facts, the_queries, only_known, taus, template_share) l
    JOIN (SELECT fact_no, any_value(fact) AS fact, any_value(relation) AS relation FROM place GROUP BY fact_no) f USING (fact_no);

-- Neurons by layer: `n` pooled over facts, `share` the mean over facts of the fact's own share. kind is a language, or LIKN.
CREATE OR REPLACE MACRO layer_hist(the_model, the_method, the_langs, the_relations, the_facts, the_queries, only_known, taus, template_share) AS TABLE
    WITH k AS MATERIALIZED (
        SELECT fact_no, lang_no, layer, neuron
        FROM kn_row(the_model, the_method, the_langs, the_relations, the_facts, the_queries, only_known, taus, template_share)
    ),
    shared AS (
        SELECT l.fact_no, l.layer
        FROM (FROM k WHERE lang_no = 1) l JOIN (FROM k WHERE lang_no > 1) o USING (fact_no, layer, neuron)
        GROUP BY l.fact_no, l.layer, l.neuron HAVING count(*) = len(the_langs) - 1
    ),
    counts AS MATERIALIZED (
        SELECT lang_no, fact_no, layer, count(*) AS n FROM k GROUP BY ALL
        UNION ALL SELECT 0, fact_no, layer, count(*) FROM shared GROUP BY ALL
    ),
    whole AS (SELECT lang_no, fact_no, sum(n) AS n FROM counts GROUP BY ALL),
    n_facts AS (SELECT lang_no, count(*) AS facts FROM whole GROUP BY ALL),
    by_layer AS (
        SELECT lang_no, layer, sum(c.n)::BIGINT AS n, sum(c.n / whole.n) AS parts FROM counts c JOIN whole USING (lang_no, fact_no) GROUP BY ALL
    )
    SELECT CASE f.lang_no WHEN 0 THEN 'LIKN' ELSE the_langs[f.lang_no] END AS kind, s.layer, coalesce(b.n, 0) AS n,
        coalesce(b.parts, 0) / f.facts AS share
    FROM n_facts f
    CROSS JOIN (SELECT layer FROM site WHERE model = the_model) s
    LEFT JOIN by_layer b ON b.lang_no = f.lang_no AND b.layer = s.layer;

-- What languages share, two by two (lang_a before lang_b, and each with itself) and all together (LIKN): how many neurons over all facts,
-- how many facts have neurons in both (in all), and how many of these share some.
CREATE OR REPLACE MACRO overlap(the_model, the_method, the_langs, the_relations, the_facts, the_queries, only_known, taus, template_share) AS TABLE
    WITH k AS MATERIALIZED (
        SELECT fact_no, lang_no, layer, neuron
        FROM kn_row(the_model, the_method, the_langs, the_relations, the_facts, the_queries, only_known, taus, template_share)
    ),
    own AS MATERIALIZED (SELECT fact_no, lang_no, count(*) AS n FROM k GROUP BY ALL),
    shared_by AS MATERIALIZED (
        SELECT a.lang_no AS a, b.lang_no AS b, a.fact_no, a.layer, a.neuron
        FROM (FROM k WHERE lang_no < len(the_langs)) a JOIN (FROM k WHERE lang_no > 1) b USING (fact_no, layer, neuron)
        WHERE a.lang_no < b.lang_no
    ),
    by_fact AS (
        SELECT a, b, fact_no, count(*) AS n FROM shared_by GROUP BY ALL
        UNION ALL SELECT lang_no, lang_no, fact_no, n FROM own
        UNION ALL
        SELECT 0, 0, fact_no, count(*) FROM (
            SELECT fact_no, layer, neuron FROM shared_by WHERE a = 1 GROUP BY ALL HAVING count(*) = len(the_langs) - 1
        ) GROUP BY ALL
    ),
    shared AS (SELECT a, b, sum(n)::BIGINT AS shared, count(*) AS facts_that_share FROM by_fact GROUP BY ALL),
    n_facts AS (
        SELECT x.lang_no AS a, y.lang_no AS b, count(*) AS facts FROM own x JOIN own y USING (fact_no) WHERE x.lang_no <= y.lang_no GROUP BY ALL
        UNION ALL
        SELECT 0, 0, count(*) FROM (SELECT fact_no FROM own GROUP BY ALL HAVING count(*) = len(the_langs))
    )
    SELECT CASE a WHEN 0 THEN 'LIKN' ELSE the_langs[a] END AS lang_a, CASE b WHEN 0 THEN 'LIKN' ELSE the_langs[b] END AS lang_b,
        coalesce(shared, 0) AS shared, facts, coalesce(facts_that_share, 0) AS facts_that_share
    FROM n_facts LEFT JOIN shared USING (a, b);

-- Scans that count (table counted_scan) with the neurons that count at these thresholds: those in N, and for controls the ones that stand in
-- for them and are not in N themselves. `inside` has a bit for each position that counts, and n is how many do.
CREATE OR REPLACE MACRO scan_mask(the_model, the_method, the_langs, the_relations, the_facts, the_queries, only_known, taus, template_share) AS TABLE
    WITH counted AS MATERIALIZED (
        SELECT s.scan_no, c.own, s.role, s.place, s.query, s.present FROM counted_scan c JOIN scan_row s USING (scan_no)
        WHERE s.model = the_model AND s.method = the_method AND (len(the_queries) = 0 OR list_contains(the_queries, s.query))
    ),
    scanned AS MATERIALIZED (
        SELECT c.scan_no, c.place, n.layer, n.neuron, n.position FROM counted c JOIN scan_neuron_row n USING (scan_no)
    ),
    member AS MATERIALIZED (
        SELECT scan_no, bit_or(1::HUGEINT << position::INTEGER) AS inside
        FROM kn_row(the_model, the_method, the_langs, the_relations, the_facts, [], only_known, taus, template_share)
        JOIN scanned USING (place, layer, neuron)
        GROUP BY scan_no
    )
    SELECT scan_no, role, place, query, bit_count(inside)::INTEGER AS n, inside
    FROM (
        SELECT c.scan_no, c.role, c.place, c.query,
            CASE c.role WHEN 'kn' THEN o.inside ELSE o.inside & c.present & ~coalesce(m.inside, 0) END AS inside
        FROM counted c JOIN member o ON o.scan_no = c.own LEFT JOIN member m ON m.scan_no = c.scan_no
    );

-- Pairs of table pair that are degenerate by the paper's rule, whatever their members.
CREATE OR REPLACE MACRO degenerate(t_low, t_high, relative) AS TABLE
    SELECT * FROM pair
    WHERE CASE WHEN relative THEN drop_ab ELSE p - p_ab END > t_high
      AND CASE WHEN relative THEN drop_a ELSE p - p_a END <= t_low AND CASE WHEN relative THEN drop_b ELSE p - p_b END <= t_low;

-- Eq. 9-10 on stored ablations: the degenerate pairs, of knowledge neurons and of either control.
-- paper: each alone drops p by at most T_low, both by more than T_high. strict: and they interact in logits by less than -δ,
-- which is unknown (NULL), and then not strict, where a probability is too near certainty for its logit.
-- expressed: the answer stays the most probable after each, and is lost after both.
CREATE OR REPLACE MACRO dkn(the_model, the_method, the_langs, the_relations, the_facts, the_queries, only_known, taus, template_share,
                            t_low, t_high, delta, relative) AS TABLE
    WITH m AS MATERIALIZED (
        SELECT m.scan_no, m.role, l.fact, l.relation, l.lang, m.query, m.inside
        FROM scan_mask(the_model, the_method, the_langs, the_relations, the_facts, the_queries, only_known, taus, template_share) m
        JOIN place l USING (place)
        WHERE m.n > 1
    )
    SELECT m.role, m.fact, m.relation, m.lang, m.query, f.layer_a, f.neuron_a, f.layer_b, f.neuron_b, f.p, f.p_a, f.p_b, f.p_ab,
        CASE WHEN relative THEN f.drop_a ELSE f.p - f.p_a END AS drop_a, CASE WHEN relative THEN f.drop_b ELSE f.p - f.p_b END AS drop_b,
        CASE WHEN relative THEN f.drop_ab ELSE f.p - f.p_ab END AS drop_ab,
        f.interaction, true AS paper, coalesce(f.interaction < -delta, false) AS strict, f.expressed
    FROM degenerate(t_low, t_high, relative) f JOIN m USING (scan_no)
    WHERE (m.inside >> f.position_a::INTEGER) & 1 = 1 AND (m.inside >> f.position_b::INTEGER) & 1 = 1;

-- How many pairs were eligible and how many of these degenerate, by role and language: the rates that stand side by side.
CREATE OR REPLACE MACRO dkn_rate(the_model, the_method, the_langs, the_relations, the_facts, the_queries, only_known, taus, template_share,
                                 t_low, t_high, delta, relative) AS TABLE
    WITH m AS MATERIALIZED (
        SELECT m.scan_no, m.role, m.place, l.lang, m.n, m.inside
        FROM scan_mask(the_model, the_method, the_langs, the_relations, the_facts, the_queries, only_known, taus, template_share) m
        JOIN place l USING (place)
    ),
    eligible AS (
        SELECT role, lang, count(*) FILTER (n >= 2) AS facts, sum(n * (n - 1) // 2)::BIGINT AS pairs FROM m GROUP BY ALL
    ),
    found AS (
        SELECT m.role, m.place, count(*) AS paper, count(*) FILTER (f.interaction < -delta) AS strict, count(*) FILTER (f.expressed) AS expressed
        FROM degenerate(t_low, t_high, relative) f JOIN m USING (scan_no)
        WHERE (m.inside >> f.position_a::INTEGER) & 1 = 1 AND (m.inside >> f.position_b::INTEGER) & 1 = 1
        GROUP BY ALL
    ),
    counted AS (
        SELECT role, lang, sum(paper)::BIGINT AS paper, sum(strict)::BIGINT AS strict, sum(expressed)::BIGINT AS expressed, count(*) AS facts_with
        FROM found JOIN place USING (place) GROUP BY ALL
    )
    SELECT role, lang, e.facts, e.pairs, coalesce(f.paper, 0) AS paper, coalesce(f.strict, 0) AS strict, coalesce(f.expressed, 0) AS expressed,
           coalesce(f.facts_with, 0) AS facts_with
    FROM eligible e LEFT JOIN counted f USING (role, lang);

-- Members of degenerate pairs of knowledge neurons by layer: `n` pooled over facts, `share` the mean over facts of the fact's own share.
CREATE OR REPLACE MACRO dkn_layers(the_model, the_method, the_langs, the_relations, the_facts, the_queries, only_known, taus, template_share,
                                   t_low, t_high, delta, relative) AS TABLE
    WITH d AS MATERIALIZED (
        SELECT l.fact_no, f.layer_a, f.neuron_a, f.layer_b, f.neuron_b
        FROM degenerate(t_low, t_high, relative) f
        JOIN scan_mask(the_model, the_method, the_langs, the_relations, the_facts, the_queries, only_known, taus, template_share) m USING (scan_no)
        JOIN place l USING (place)
        WHERE m.role = 'kn' AND (m.inside >> f.position_a::INTEGER) & 1 = 1 AND (m.inside >> f.position_b::INTEGER) & 1 = 1
    ),
    counts AS MATERIALIZED (
        SELECT fact_no, layer, count(*) AS n
        FROM (SELECT fact_no, layer_a AS layer, neuron_a AS neuron FROM d UNION SELECT fact_no, layer_b, neuron_b FROM d) GROUP BY ALL
    ),
    whole AS MATERIALIZED (SELECT fact_no, sum(n) AS n FROM counts GROUP BY ALL)
    SELECT layer, sum(c.n)::BIGINT AS n, sum(c.n / whole.n) / (SELECT count(*) FROM whole) AS share
    FROM counts c JOIN whole USING (fact_no) GROUP BY layer;

-- The degenerate pairs of knowledge neurons, and whom their neurons serve beside the pair's own fact: a_only other facts whose N (in that
-- language) holds a and not b, b_only the reverse. serves: degenerate where there are both, redundant where there are neither, else
-- one-sided. Other facts are all those of the View, whatever pair_relations, pair_facts and pair_queries restrict the pairs to.
CREATE OR REPLACE MACRO dkn_service(the_model, the_method, the_langs, the_relations, the_facts, the_queries, only_known, taus, template_share,
                                    t_low, t_high, delta, relative, pair_relations, pair_facts, pair_queries) AS TABLE
    WITH d AS MATERIALIZED (
        SELECT * EXCLUDE (role)
        FROM dkn(the_model, the_method, the_langs, pair_relations, pair_facts, pair_queries, only_known, taus, template_share, t_low, t_high, delta, relative)
        WHERE role = 'kn'
    ),
    paired AS MATERIALIZED (
        SELECT DISTINCT list_position(the_langs, lang) AS lang_no, layer_a, neuron_a, layer_b, neuron_b FROM d
    ),
    s AS MATERIALIZED (
        SELECT k.lang_no, k.fact_no, k.layer, k.neuron
        FROM kn_row(the_model, the_method, the_langs, the_relations, the_facts, [], only_known, taus, template_share) k
        SEMI JOIN (
            SELECT lang_no, layer_a AS layer, neuron_a AS neuron FROM paired UNION SELECT lang_no, layer_b, neuron_b FROM paired
        ) wanted USING (lang_no, layer, neuron)
    ),
    served AS MATERIALIZED (SELECT lang_no, layer, neuron, count(*) AS n FROM s GROUP BY ALL),
    together AS (
        SELECT p.lang_no, p.layer_a, p.neuron_a, p.layer_b, p.neuron_b, count(*) AS n
        FROM paired p
        JOIN s x ON x.lang_no = p.lang_no AND x.layer = p.layer_a AND x.neuron = p.neuron_a
        JOIN s y ON y.lang_no = p.lang_no AND y.layer = p.layer_b AND y.neuron = p.neuron_b AND y.fact_no = x.fact_no
        GROUP BY ALL
    ),
    counted AS (
        SELECT t.lang_no, t.layer_a, t.neuron_a, t.layer_b, t.neuron_b, a.n - t.n AS a_only, b.n - t.n AS b_only
        FROM together t
        JOIN served a ON a.lang_no = t.lang_no AND a.layer = t.layer_a AND a.neuron = t.neuron_a
        JOIN served b ON b.lang_no = t.lang_no AND b.layer = t.layer_b AND b.neuron = t.neuron_b
    )
    SELECT d.*, c.a_only, c.b_only,
        CASE WHEN c.a_only > 0 AND c.b_only > 0 THEN 'degenerate' WHEN c.a_only + c.b_only = 0 THEN 'redundant' ELSE 'one-sided' END AS serves
    FROM d JOIN counted c ON c.lang_no = list_position(the_langs, d.lang)
        AND c.layer_a = d.layer_a AND c.neuron_a = d.neuron_a AND c.layer_b = d.layer_b AND c.neuron_b = d.neuron_b;

-- Eq. 11's raw rows: stored edits of the sets that count at these thresholds, read on their own fact (relevant) and on the facts they
-- should leave alone, of the `kind` in table irrelevant. edited is kn (N of the fact in `lang`) or likn (L, and lang is LIKN). change is
-- p_after - p_before.
CREATE OR REPLACE MACRO edits(the_model, the_method, the_langs, the_relations, the_facts, the_queries, only_known, taus, template_share) AS TABLE
    WITH k AS MATERIALIZED (
        SELECT 'kn' AS edited, fact, relation, lang, layer, neuron
        FROM kn(the_model, the_method, the_langs, the_relations, the_facts, the_queries, only_known, taus, template_share)
        UNION ALL
        SELECT 'likn', fact, relation, 'LIKN', layer, neuron
        FROM likn(the_model, the_method, the_langs, the_relations, the_facts, the_queries, only_known, taus, template_share)
    ),
    sets AS (
        SELECT edited, fact, relation, lang, count(*) AS neurons,
            md5(string_agg(layer::VARCHAR || ':' || neuron::VARCHAR, ',' ORDER BY layer, neuron)) AS "set"
        FROM k GROUP BY ALL
    )
    SELECT s.edited, s.fact, s.relation, s.lang, s.neurons, s."set", e.operation, q.fact = s.fact AS relevant, e.query,
        q.fact AS fact_read, q.lang AS lang_read, i.kind, e.p_before, e.p_after, e.p_after - e.p_before AS change
    FROM sets s JOIN edit e ON e."set" = s."set" AND e.model = the_model JOIN query q ON q.query = e.query
    LEFT JOIN (
        SELECT fact, other, coalesce(any_value(kind), CASE WHEN bool_or(same_relation) THEN 'same relation' ELSE 'other relation' END) AS kind
        FROM irrelevant WHERE model = the_model GROUP BY ALL
    ) i ON i.fact = s.fact AND i.other = q.fact
    WHERE q.fact = s.fact OR i.kind IS NOT NULL;

-- METHOD of table 3: stored claims with what this rule says of them. A relation's and language's neurons are those in degenerate pairs
-- (role kn) of more than dkn_share of as many facts of the part `neurons` as the most frequent one; attribution is their mean
-- when the claim is read, neurons how many there are, and judged_true whether the mean is above lam. Parts are as dealt when the claim was stored.
CREATE OR REPLACE MACRO factcheck(the_model, the_method, the_langs, the_relations, the_facts, the_queries, only_known, taus, template_share,
                                  t_low, t_high, delta, relative, dkn_share, lam) AS TABLE
    WITH stored AS MATERIALIZED (
        SELECT c.*, n.values_read
        FROM claim c JOIN (SELECT key, count(*) AS values_read FROM claim_neuron GROUP BY key) n USING (key)
        WHERE c.model = the_model AND c.method = the_method AND list_contains(the_langs, c.lang)
          AND (len(the_relations) = 0 OR list_contains(the_relations, c.relation))
          AND (len(the_facts) = 0 OR list_contains(the_facts, c.fact))
          AND (len(the_queries) = 0 OR list_contains(the_queries, c.query))
        -- a claim read again after more neurons were scanned is stored twice: the fuller reading counts
        QUALIFY row_number() OVER (PARTITION BY c.lang, c.fact, c.object ORDER BY n.values_read DESC, c.key) = 1
    ),
    d AS MATERIALIZED (
        SELECT relation, lang, fact, layer_a, neuron_a, layer_b, neuron_b
        FROM dkn(the_model, the_method, the_langs, the_relations, the_facts, [], only_known, taus, template_share, t_low, t_high, delta, relative)
        WHERE role = 'kn'
    ),
    member AS (
        SELECT relation, lang, fact, layer_a AS layer, neuron_a AS neuron FROM d
        UNION SELECT relation, lang, fact, layer_b, neuron_b FROM d
    ),
    counted AS (
        SELECT relation, lang, layer, neuron, count(*) AS facts
        FROM member SEMI JOIN (SELECT fact FROM stored WHERE part = 'neurons') first USING (fact)
        GROUP BY ALL
    ),
    kept AS (
        SELECT relation, lang, layer, neuron FROM counted
        QUALIFY facts > dkn_share * max(facts) OVER (PARTITION BY relation, lang)
    )
    SELECT s.fact, s.relation, s.lang, s.query, s.object, s.correct, s.part, count(v.neuron) AS neurons,
        avg(v.attribution::DOUBLE) AS attribution, avg(v.attribution::DOUBLE) > lam AS judged_true, s.p, s.p_root, s.rank, s.is_argmax
    FROM stored s
    LEFT JOIN (
        SELECT n.key, k.relation, k.lang, n.neuron, n.attribution FROM claim_neuron n JOIN kept k USING (layer, neuron)
    ) v ON v.key = s.key AND v.relation = s.relation AND v.lang = s.lang
    GROUP BY ALL;

-- The activation of one neuron where the answer's first token is read, on every query that it was read on.
CREATE OR REPLACE MACRO fires(the_model, the_layer, the_neuron) AS TABLE
    WITH placed AS MATERIALIZED (
        SELECT "set", list_position(list_zip(layers, neurons), row(the_layer::SMALLINT, the_neuron::INTEGER)) AS place
        FROM edited_set WHERE model = the_model AND "set" IN (SELECT "set" FROM activation WHERE model = the_model)
    )
    SELECT query, any_value(activations[place]) AS activation
    FROM activation JOIN placed USING ("set") WHERE model = the_model AND place > 0 GROUP BY query;

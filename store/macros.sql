-- Eq. 6-10, and the rows of eq. 11, as table macros: the only place where they are written. Every threshold is an argument.
--
-- Besides the stored tables they read three that the reader keeps for speed: place (a fact in a language, numbered), score_row
-- (table score by number, sorted by rel descending) and pair (scanned pairs beside their singles).

-- logit p in natural logarithms, p kept a hair away from 0 and 1 so that saturated probabilities stay finite.
CREATE OR REPLACE MACRO log_odds(p) AS ln(greatest(least(p, 1 - 1e-12), 1e-12)) - ln(1 - greatest(least(p, 1 - 1e-12), 1e-12));

-- A drop of p after an ablation; relative to p before, or absolute. NULL where p before is 0: nothing can drop.
CREATE OR REPLACE MACRO drop_of(before, after, relative) AS (before - after) / CASE WHEN relative THEN nullif(before, 0) ELSE 1 END;

-- A threshold below the stored floor would silently miss neurons.
CREATE OR REPLACE MACRO above_floor(tau, floor) AS
    CASE WHEN tau IS NULL THEN error('taus names no τ for one of the languages chosen')
    WHEN tau < floor
    THEN error('τ ' || tau || ' is below ' || floor || ', the floor: no lower rel is kept as rows; ask knscope itself, which reads them from the dense scores')
    ELSE tau END;

-- The attributed queries a View looks at. Empty lists restrict nothing.
CREATE OR REPLACE MACRO chosen(the_model, the_method, the_langs, the_relations, the_facts, the_queries, only_known) AS TABLE
    SELECT a.aq, a.place, a.query, a.floor
    FROM attribution_row a JOIN place p USING (place)
    WHERE a.model = the_model AND a.method = the_method AND list_contains(the_langs, p.lang)
      AND (len(the_relations) = 0 OR list_contains(the_relations, p.relation))
      AND (len(the_facts) = 0 OR list_contains(the_facts, p.fact))
      AND (len(the_queries) = 0 OR list_contains(the_queries, a.query))
      AND (NOT only_known OR EXISTS (FROM prediction pr WHERE pr.model = a.model AND pr.query = a.query AND pr.known));

-- Eq. 6-7 by number of the fact in its language: a neuron is in N of a (fact, language) when rel > τ of that language on at least a
-- share of its attributed queries. Where there is one query nothing needs counting: most stores have one template, and it is much faster.
CREATE OR REPLACE MACRO kn_row(the_model, the_method, the_langs, the_relations, the_facts, the_queries, only_known, taus, template_share) AS TABLE
    WITH c AS MATERIALIZED (FROM chosen(the_model, the_method, the_langs, the_relations, the_facts, the_queries, only_known)),
    asked AS (SELECT place, count(*) AS n FROM c GROUP BY ALL),
    cut AS MATERIALIZED (
        SELECT c.aq, c.place, asked.n, above_floor(map_extract(taus, p.lang)[1], c.floor)::DOUBLE AS tau
        FROM c JOIN asked USING (place) JOIN place p USING (place)
    )
    SELECT cut.place, s.layer, s.neuron, s.rel, 1.0::DOUBLE AS share
    FROM score_row s JOIN cut USING (aq)
    WHERE cut.n = 1 AND s.rel > list_min(map_values(taus)) AND s.rel > cut.tau
    UNION ALL
    SELECT cut.place, s.layer, s.neuron, max(s.rel) AS rel, count(*) / cut.n AS share
    FROM score_row s JOIN cut USING (aq)
    WHERE cut.n > 1 AND s.rel > list_min(map_values(taus)) AND s.rel > cut.tau
    GROUP BY cut.place, s.layer, s.neuron, cut.n
    HAVING count(*) >= template_share * cut.n - 1e-9;

-- Eq. 6-7: the knowledge neurons of every fact and language; rel is the highest, share the share, over its attributed queries.
CREATE OR REPLACE MACRO kn(the_model, the_method, the_langs, the_relations, the_facts, the_queries, only_known, taus, template_share) AS TABLE
    SELECT p.fact, p.relation, p.lang, k.layer, k.neuron, k.rel, k.share
    FROM kn_row(the_model, the_method, the_langs, the_relations, the_facts, the_queries, only_known, taus, template_share) k
    JOIN place p USING (place);

-- One row a stored (model, query): what the model answers, and, where attributed with the method, its neurons above τ and its residual.
CREATE OR REPLACE MACRO queries(the_model, the_method, the_langs, the_relations, the_facts, the_queries, only_known, taus) AS TABLE
    WITH n AS (
        SELECT c.query, count(*) AS n
        FROM (
            SELECT c.aq, c.query, above_floor(map_extract(taus, p.lang)[1], c.floor)::DOUBLE AS tau
            FROM chosen(the_model, the_method, the_langs, the_relations, the_facts, the_queries, only_known) c JOIN place p USING (place)
        ) c JOIN score_row s USING (aq)
        WHERE s.rel > list_min(map_values(taus)) AND s.rel > c.tau
        GROUP BY ALL
    )
    SELECT q.query, q.fact, q.relation, q.lang, q.template, q.subject, q.object, p.p, p.p_root, p.rank, p.known,
        CASE WHEN a.key IS NOT NULL THEN coalesce(n.n, 0) END AS n_kn, a.max_residual AS residual
    FROM prediction p
    JOIN query q USING (query)
    LEFT JOIN attribution a ON a.model = p.model AND a.query = p.query AND a.method = the_method
    LEFT JOIN n ON n.query = p.query
    WHERE p.model = the_model AND list_contains(the_langs, q.lang)
      AND (len(the_relations) = 0 OR list_contains(the_relations, q.relation))
      AND (len(the_facts) = 0 OR list_contains(the_facts, q.fact))
      AND (len(the_queries) = 0 OR list_contains(the_queries, q.query))
      AND (NOT only_known OR p.known);

-- Eq. 8 by number of the fact: what the first language has and every other has too.
CREATE OR REPLACE MACRO likn_row(the_model, the_method, the_langs, the_relations, the_facts, the_queries, only_known, taus, template_share) AS TABLE
    WITH k AS MATERIALIZED (
        SELECT p.fact_no, p.lang = the_langs[1] AS leads, k.layer, k.neuron, k.rel
        FROM kn_row(the_model, the_method, the_langs, the_relations, the_facts, the_queries, only_known, taus, template_share) k
        JOIN place p USING (place)
    )
    SELECT l.fact_no, l.layer, l.neuron, least(l.rel, min(o.rel)) AS rel, greatest(l.rel, max(o.rel)) AS rel_max
    FROM (FROM k WHERE leads) l JOIN (FROM k WHERE NOT leads) o USING (fact_no, layer, neuron)
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
        SELECT r.place, p.fact_no, p.lang = the_langs[1] AS leads, r.layer, r.neuron
        FROM kn_row(the_model, the_method, the_langs, the_relations, the_facts, the_queries, only_known, taus, template_share) r JOIN place p USING (place)
    ),
    shared AS (
        SELECT l.fact_no, l.layer FROM (FROM k WHERE leads) l JOIN (FROM k WHERE NOT leads) o USING (fact_no, layer, neuron)
        GROUP BY l.fact_no, l.layer, l.neuron HAVING count(*) = len(the_langs) - 1
    ),
    kinds AS MATERIALIZED (
        SELECT p.lang AS kind, p.fact_no, c.layer, c.n FROM (SELECT place, layer, count(*) AS n FROM k GROUP BY ALL) c JOIN place p USING (place)
        UNION ALL SELECT 'LIKN', fact_no, layer, count(*) FROM shared GROUP BY ALL
    ),
    whole AS (SELECT kind, fact_no, sum(n) AS n FROM kinds GROUP BY ALL),
    n_facts AS (SELECT kind, count(*) AS facts FROM whole GROUP BY ALL),
    by_layer AS (
        SELECT kind, layer, sum(kinds.n)::BIGINT AS n, sum(kinds.n / whole.n) AS parts FROM kinds JOIN whole USING (kind, fact_no) GROUP BY ALL
    )
    SELECT f.kind, s.layer, coalesce(b.n, 0) AS n, coalesce(b.parts, 0) / f.facts AS share
    FROM n_facts f
    CROSS JOIN (SELECT layer FROM site WHERE model = the_model) s
    LEFT JOIN by_layer b ON b.kind = f.kind AND b.layer = s.layer;

-- Scanned neurons that count at these thresholds: those in N, and for controls the ones that stand in for them.
CREATE OR REPLACE MACRO scan_member(the_model, the_method, the_langs, the_relations, the_facts, the_queries, only_known, taus, template_share) AS TABLE
    WITH k AS MATERIALIZED (FROM kn_row(the_model, the_method, the_langs, the_relations, the_facts, [], only_known, taus, template_share)),
    inside AS MATERIALIZED (
        SELECT s.place, n.position
        FROM scan_row s JOIN scan_neuron_row n USING (scan_no) JOIN k ON k.place = s.place AND k.layer = n.layer AND k.neuron = n.neuron
        WHERE s.role = 'kn' AND s.model = the_model AND s.method = the_method
    )
    SELECT s.scan_no, s.role, s.place, n.position
    FROM inside i JOIN scan_row s USING (place) JOIN scan_neuron_row n ON n.scan_no = s.scan_no AND n.position = i.position
    WHERE s.model = the_model AND s.method = the_method AND (len(the_queries) = 0 OR list_contains(the_queries, s.query));

-- The same as one row a scan: `inside` has a bit for each position that counts.
CREATE OR REPLACE MACRO scan_mask(the_model, the_method, the_langs, the_relations, the_facts, the_queries, only_known, taus, template_share) AS TABLE
    SELECT scan_no, any_value(role) AS role, any_value(place) AS place, count(*) AS n, bit_or(1::HUGEINT << position::INTEGER) AS inside
    FROM scan_member(the_model, the_method, the_langs, the_relations, the_facts, the_queries, only_known, taus, template_share)
    GROUP BY scan_no;

-- Pairs of table pair that are degenerate by the paper's rule, whatever their members.
CREATE OR REPLACE MACRO degenerate(t_low, t_high, relative) AS TABLE
    SELECT * FROM pair
    WHERE drop_of(p, p_a, relative) <= t_low AND drop_of(p, p_b, relative) <= t_low AND drop_of(p, p_ab, relative) > t_high;

-- Eq. 9-10 on stored ablations: the degenerate pairs, of knowledge neurons and of either control.
-- paper: each alone drops p by at most T_low, both by more than T_high. strict: and they interact in logits by less than -δ.
-- expressed: the answer stays the most probable after each, and is lost after both.
CREATE OR REPLACE MACRO dkn(the_model, the_method, the_langs, the_relations, the_facts, the_queries, only_known, taus, template_share,
                            t_low, t_high, delta, relative) AS TABLE
    WITH m AS MATERIALIZED (FROM scan_mask(the_model, the_method, the_langs, the_relations, the_facts, the_queries, only_known, taus, template_share))
    SELECT m.role, l.fact, l.relation, l.lang, s.query, f.layer_a, f.neuron_a, f.layer_b, f.neuron_b, f.p, f.p_a, f.p_b, f.p_ab,
        drop_of(f.p, f.p_a, relative) AS drop_a, drop_of(f.p, f.p_b, relative) AS drop_b, drop_of(f.p, f.p_ab, relative) AS drop_ab,
        f.interaction, true AS paper, f.interaction < -delta AS strict, f.expressed
    FROM degenerate(t_low, t_high, relative) f
    JOIN m USING (scan_no)
    JOIN scan_row s USING (scan_no)
    JOIN place l ON l.place = m.place
    WHERE (m.inside >> f.position_a::INTEGER) & 1 = 1 AND (m.inside >> f.position_b::INTEGER) & 1 = 1;

-- How many pairs were eligible and how many of these degenerate, by role and language: the rates that stand side by side.
CREATE OR REPLACE MACRO dkn_rate(the_model, the_method, the_langs, the_relations, the_facts, the_queries, only_known, taus, template_share,
                                 t_low, t_high, delta, relative) AS TABLE
    WITH m AS MATERIALIZED (FROM scan_mask(the_model, the_method, the_langs, the_relations, the_facts, the_queries, only_known, taus, template_share)),
    eligible AS (
        SELECT role, lang, count(*) FILTER (n >= 2) AS facts, sum(n * (n - 1) // 2)::BIGINT AS pairs
        FROM m JOIN place USING (place) GROUP BY ALL
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

-- Eq. 11's raw rows: stored edits of the sets that count at these thresholds, read on their own fact (relevant) and on the facts they
-- should leave alone. edited is kn (the fact's N in `lang`) or likn (L, and lang is LIKN). change is p_after - p_before.
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
        q.fact AS fact_read, q.lang AS lang_read, e.p_before, e.p_after, e.p_after - e.p_before AS change
    FROM sets s JOIN edit e ON e."set" = s."set" AND e.model = the_model JOIN query q ON q.query = e.query
    WHERE q.fact = s.fact OR EXISTS (FROM irrelevant i WHERE i.model = the_model AND i.fact = s.fact AND i.other = q.fact);

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

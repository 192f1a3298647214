-- Eq. 6-10 as table macros: the only place where they are written. Every threshold is an argument.
-- attribution_row and score_row are the reader's own tables: attribution with a small integer `aq`, and score by that integer.

-- logit p in natural logarithms, p kept a hair away from 0 and 1 so that saturated probabilities stay finite.
CREATE OR REPLACE MACRO log_odds(p) AS ln(greatest(least(p, 1 - 1e-12), 1e-12)) - ln(1 - greatest(least(p, 1 - 1e-12), 1e-12));

-- The attributed queries a View looks at. Empty lists restrict nothing.
CREATE OR REPLACE MACRO chosen(the_model, the_method, the_langs, the_relations, the_facts, the_queries, only_known) AS TABLE
    SELECT a.aq, a.key, q.query, q.fact, q.relation, q.lang
    FROM attribution_row a
    JOIN query q USING (query)
    LEFT JOIN prediction p ON p.model = a.model AND p.query = a.query
    WHERE a.model = the_model AND a.method = the_method AND list_contains(the_langs, q.lang)
      AND (len(the_relations) = 0 OR list_contains(the_relations, q.relation))
      AND (len(the_facts) = 0 OR list_contains(the_facts, q.fact))
      AND (len(the_queries) = 0 OR list_contains(the_queries, q.query))
      AND (NOT only_known OR p.known);

-- Eq. 6-7: a neuron is in N of a (fact, language) when rel > τ of that language on at least a share of its attributed queries.
CREATE OR REPLACE MACRO kn(the_model, the_method, the_langs, the_relations, the_facts, the_queries, only_known, taus, template_share) AS TABLE
    WITH c AS MATERIALIZED (FROM chosen(the_model, the_method, the_langs, the_relations, the_facts, the_queries, only_known)),
    cut AS (SELECT aq, fact, relation, lang, taus[lang]::DOUBLE AS tau FROM c),
    asked AS (SELECT fact, lang, count(*) AS n FROM c GROUP BY ALL),
    hit AS (
        SELECT cut.fact, cut.relation, cut.lang, s.layer, s.neuron, count(*) AS hits, max(s.rel) AS rel
        FROM score_row s JOIN cut USING (aq)
        WHERE s.rel > cut.tau
        GROUP BY ALL
    )
    SELECT hit.fact, hit.relation, hit.lang, hit.layer, hit.neuron, hit.rel, hit.hits / asked.n AS share
    FROM hit JOIN asked USING (fact, lang)
    WHERE hit.hits >= template_share * asked.n - 1e-9;

-- Eq. 8: L is the intersection of N over all chosen languages, per fact.
CREATE OR REPLACE MACRO likn(the_model, the_method, the_langs, the_relations, the_facts, the_queries, only_known, taus, template_share) AS TABLE
    SELECT fact, relation, layer, neuron, min(rel) AS rel, max(rel) AS rel_max
    FROM kn(the_model, the_method, the_langs, the_relations, the_facts, the_queries, only_known, taus, template_share)
    GROUP BY ALL
    HAVING count(*) = len(the_langs) AND len(the_langs) >= 2;

-- Neurons by layer: `n` pooled over facts, `share` the mean over facts of the fact's own share. kind is a language, or LIKN.
CREATE OR REPLACE MACRO layer_hist(the_model, the_method, the_langs, the_relations, the_facts, the_queries, only_known, taus, template_share) AS TABLE
    WITH k AS MATERIALIZED (FROM kn(the_model, the_method, the_langs, the_relations, the_facts, the_queries, only_known, taus, template_share)),
    shared AS (SELECT fact, layer, neuron FROM k GROUP BY ALL HAVING count(*) = len(the_langs) AND len(the_langs) >= 2),
    kinds AS (
        SELECT lang AS kind, fact, layer, count(*) AS n FROM k GROUP BY ALL
        UNION ALL SELECT 'LIKN', fact, layer, count(*) FROM shared GROUP BY ALL
    ),
    per_fact AS (SELECT *, n / sum(n) OVER (PARTITION BY kind, fact) AS part FROM kinds),
    facts AS (SELECT kind, count(DISTINCT fact) AS n_facts FROM kinds GROUP BY ALL)
    SELECT p.kind, s.layer, coalesce(sum(p2.n), 0)::BIGINT AS n, coalesce(sum(p2.part), 0) / any_value(p.n_facts) AS share
    FROM facts p
    CROSS JOIN (SELECT DISTINCT layer FROM site WHERE model = the_model) s
    LEFT JOIN per_fact p2 ON p2.kind = p.kind AND p2.layer = s.layer
    GROUP BY p.kind, s.layer;

-- Eq. 9-10 on stored ablations: every scanned pair whose members (or, for controls, the neurons they stand in for) are in N.
CREATE OR REPLACE MACRO dkn(the_model, the_method, the_langs, the_relations, the_facts, the_queries, only_known, taus, template_share,
                            t_low, t_high, delta, relative) AS TABLE
    WITH k AS MATERIALIZED (FROM kn(the_model, the_method, the_langs, the_relations, the_facts, the_queries, only_known, taus, template_share)),
    scans AS MATERIALIZED (
        SELECT s.key, s.role, s.p, s.query, q.fact, q.relation, q.lang
        FROM scan s JOIN query q USING (query)
        LEFT JOIN prediction pr ON pr.model = s.model AND pr.query = s.query
        WHERE s.model = the_model AND s.method = the_method AND list_contains(the_langs, q.lang)
          AND (len(the_relations) = 0 OR list_contains(the_relations, q.relation))
          AND (len(the_facts) = 0 OR list_contains(the_facts, q.fact))
          AND (NOT only_known OR pr.known)
    ),
    inside AS (
        SELECT s.fact, s.lang, n.position
        FROM scans s JOIN scan_neuron n USING (key) JOIN k ON k.fact = s.fact AND k.lang = s.lang AND k.layer = n.layer AND k.neuron = n.neuron
        WHERE s.role = 'kn'
    ),
    member AS MATERIALIZED (
        SELECT s.key, n.layer, n.neuron FROM scans s JOIN scan_neuron n USING (key) JOIN inside i ON i.fact = s.fact AND i.lang = s.lang AND i.position = n.position
    ),
    one AS MATERIALIZED (SELECT a.* FROM ablation a JOIN member m ON m.key = a.key AND m.layer = a.layer_a AND m.neuron = a.neuron_a WHERE a.layer_b IS NULL),
    pair AS (
        SELECT s.*, c.layer_a, c.neuron_a, c.layer_b, c.neuron_b, a.p AS p_a, b.p AS p_b, c.p AS p_ab,
               a.argmax_kept AND b.argmax_kept AND NOT c.argmax_kept AS expressed
        FROM ablation c
        JOIN scans s USING (key)
        JOIN one a ON a.key = c.key AND a.layer_a = c.layer_a AND a.neuron_a = c.neuron_a
        JOIN one b ON b.key = c.key AND b.layer_a = c.layer_b AND b.neuron_a = c.neuron_b
        WHERE c.layer_b IS NOT NULL
    ),
    measured AS (
        SELECT *,
            (p - p_a) / CASE WHEN relative THEN nullif(p, 0) ELSE 1 END AS drop_a,
            (p - p_b) / CASE WHEN relative THEN nullif(p, 0) ELSE 1 END AS drop_b,
            (p - p_ab) / CASE WHEN relative THEN nullif(p, 0) ELSE 1 END AS drop_ab,
            log_odds(p_ab) - log_odds(p_a) - log_odds(p_b) + log_odds(p) AS interaction
        FROM pair
    )
    SELECT role, fact, relation, lang, query, layer_a, neuron_a, layer_b, neuron_b, p, p_a, p_b, p_ab, drop_a, drop_b, drop_ab, interaction,
        coalesce(drop_a <= t_low AND drop_b <= t_low AND drop_ab > t_high, false) AS paper,
        coalesce(drop_a <= t_low AND drop_b <= t_low AND drop_ab > t_high AND interaction < -delta, false) AS strict,
        expressed
    FROM measured;

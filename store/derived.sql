-- What is derived from the stored tables as they arrive, so that a change of threshold is a query of milliseconds.
-- Numbers instead of texts where millions of rows are joined; they hold within one database only. Columns that are as in schema.sql are
-- written again, so that each table can be read by itself.

CREATE TABLE place ( -- every fact in a language, numbered
    place INTEGER,            -- number of the fact in the language
    fact_no INTEGER,          -- number of the fact, the same in all languages
    fact VARCHAR,             -- as in table query
    relation VARCHAR,         -- as in table query
    lang VARCHAR              -- as in table query
);
CREATE TABLE attribution_row ( -- attributions, numbered
    aq INTEGER,               -- number of the attribution
    place INTEGER,            -- table place
    key VARCHAR,              -- table attribution
    model VARCHAR,            -- table model
    method VARCHAR,           -- table method
    query VARCHAR,            -- table query
    floor DOUBLE              -- lowest rel whose neurons are all in score_row
);
CREATE TABLE score_row ( -- table score by number; within what arrived together highest rel first, so that lower ones are skipped unread
    aq INTEGER,               -- table attribution_row
    layer SMALLINT,           -- from 0
    neuron INTEGER,           -- from 0 within its layer
    score FLOAT,              -- attribution (eq. 2-5)
    rel DOUBLE                -- score / max_score of the query
);
CREATE TABLE path_row ( -- table path by number
    aq INTEGER,               -- table attribution_row
    step SMALLINT,            -- answer token, from 0
    path SMALLINT,            -- from 0
    word VARCHAR,             -- the word masked; empty where the baseline is not per word
    layer SMALLINT,           -- from 0
    f_start DOUBLE,           -- F at the baseline
    f_end DOUBLE,             -- F at the query's own activations
    total DOUBLE,             -- sum of the attributions, difference form
    residual DOUBLE,          -- |total - (f_end - f_start)|
    nodes SMALLINT,           -- quadrature nodes used
    converged BOOLEAN         -- whether the residual met the tolerance
);
CREATE TABLE scan_row ( -- scans, numbered
    scan_no INTEGER,          -- number of the scan
    place INTEGER,            -- table place
    key VARCHAR,              -- table scan
    model VARCHAR,            -- table model
    method VARCHAR,           -- table method
    query VARCHAR,            -- table query
    role VARCHAR,             -- as in table scan
    present HUGEINT           -- a bit for each position of its neurons
);
CREATE TABLE counted_scan ( -- the scans that count: one of each model, method, fact, language and role, chosen as main_query.py says
    model VARCHAR,            -- table model
    scan_no INTEGER,          -- table scan_row
    own INTEGER               -- scan of the knowledge neurons that its own stand in for; of those, itself
);
CREATE TABLE scan_neuron_row ( -- table scan_neuron by number
    scan_no INTEGER,          -- table scan_row
    position SMALLINT,        -- from 0, best first
    layer SMALLINT,           -- from 0
    neuron INTEGER            -- from 0 within its layer
);
CREATE TABLE ablation_row ( -- table ablation by number
    scan_no INTEGER,          -- table scan_row
    layer_a SMALLINT,         -- the neuron ablated, or the first of two
    neuron_a INTEGER,         -- from 0 within its layer
    layer_b SMALLINT,         -- NULL: a alone was ablated
    neuron_b INTEGER,         -- NULL: a alone was ablated
    p DOUBLE,                 -- after the ablation
    p_root DOUBLE,            -- p to the power 1/tokens
    rank INTEGER,             -- of the first answer token, after the ablation
    argmax_kept BOOLEAN       -- the answer is still the most probable at every step
);
CREATE TABLE pair ( -- every scanned pair beside its two single ablations; within what arrived together highest drop_ab first, so that lower ones are skipped unread
    scan_no INTEGER,          -- table scan_row
    position_a SMALLINT,      -- table scan_neuron_row
    position_b SMALLINT,      -- table scan_neuron_row
    layer_a SMALLINT,         -- from 0
    neuron_a INTEGER,         -- from 0 within its layer
    layer_b SMALLINT,         -- from 0
    neuron_b INTEGER,         -- from 0 within its layer
    p DOUBLE,                 -- before any ablation
    p_a DOUBLE,               -- without a
    p_b DOUBLE,               -- without b
    p_ab DOUBLE,              -- without both
    drop_a DOUBLE,            -- (p - p_a) / p; NULL where p is 0: nothing can drop
    drop_b DOUBLE,            -- (p - p_b) / p
    drop_ab DOUBLE,           -- (p - p_ab) / p
    interaction DOUBLE,       -- logit p_ab - logit p_a - logit p_b + logit p; NULL where one of them is too near certainty
    expressed BOOLEAN         -- the answer stays the most probable after each, and is lost after both
);

-- What the reader derives from the stored tables as they arrive, so that a change of threshold is a query of milliseconds.
CREATE TABLE place (place INTEGER, fact_no INTEGER, fact VARCHAR, relation VARCHAR, lang VARCHAR);
CREATE TABLE attribution_row (aq INTEGER, place INTEGER, key VARCHAR, model VARCHAR, method VARCHAR, query VARCHAR);
CREATE TABLE score_row (aq INTEGER, layer SMALLINT, neuron INTEGER, score FLOAT, rel DOUBLE);
CREATE TABLE scan_row (scan_no INTEGER, place INTEGER, key VARCHAR, model VARCHAR, method VARCHAR, query VARCHAR, role VARCHAR);
CREATE TABLE scan_neuron_row (scan_no INTEGER, position SMALLINT, layer SMALLINT, neuron INTEGER);
CREATE TABLE pair (
    scan_no INTEGER, position_a SMALLINT, position_b SMALLINT, layer_a SMALLINT, neuron_a INTEGER, layer_b SMALLINT, neuron_b INTEGER,
    p DOUBLE, p_a DOUBLE, p_b DOUBLE, p_ab DOUBLE, interaction DOUBLE, expressed BOOLEAN
);
CREATE VIEW score AS SELECT a.key, s.layer, s.neuron, s.score, s.rel FROM score_row s JOIN attribution_row a USING (aq);

-- Every table a shard may hold, and what each column means. Scores and probabilities are raw; thresholds are arguments of macros.
-- A shard's Parquet files have exactly these columns. Keys name a result by everything its value depends on.

CREATE TABLE model (
    model VARCHAR,            -- label and identity: <name>@<8 hex>
    name VARCHAR,             -- the part of the label before the @
    source VARCHAR,           -- hub id or folder it was loaded from
    revision VARCHAR,         -- revision of the hub repository, empty for folders
    architecture VARCHAR,     -- class of the model
    kind VARCHAR,             -- encoder or decoder
    dtype VARCHAR,            -- precision it was run in
    attention VARCHAR,        -- attention implementation
    weights_hash VARCHAR,     -- sha256 over the weights
    tokenizer_hash VARCHAR,   -- sha256 over the tokenizer
    n_layers INTEGER,         -- layers with neurons
    n_neurons BIGINT,         -- neurons over all layers
    replay BOOLEAN            -- true: passes start at the edited layer; false: full forwards (slower, same values)
);
CREATE TABLE site (
    model VARCHAR,            -- table model
    stack VARCHAR,            -- empty, or the stack of a model that has several
    layer SMALLINT,           -- from 0
    width INTEGER,            -- neurons of the layer
    "offset" BIGINT,          -- place of the layer's first neuron in dense arrays
    module VARCHAR,           -- the second MLP linear, whose input the neurons are
    call SMALLINT,            -- which call of that module, where one module serves several layers
    gated BOOLEAN             -- whether the MLP multiplies by a gate
);
CREATE TABLE method (
    method VARCHAR,           -- label: a preset, or a preset and what differs
    options JSON,             -- every option
    numerics_version INTEGER  -- raised when the same options give other values
);
CREATE TABLE query (
    query VARCHAR,            -- 16 hex digits of the six texts below
    fact VARCHAR,             -- the same fact in all languages and templates
    relation VARCHAR,         -- Wikidata property or the dataset's own name
    lang VARCHAR,             -- language code as the dataset writes it
    template VARCHAR,         -- with [X] and [Y]
    subject VARCHAR,
    object VARCHAR,           -- the right answer
    prompt_note VARCHAR       -- what was put before the template, if anything
);
CREATE TABLE prediction (
    key VARCHAR,
    model VARCHAR,
    query VARCHAR,
    p DOUBLE,                 -- probability of the answer: product over its tokens
    p_root DOUBLE,            -- p to the power 1/tokens; compare this across languages
    rank INTEGER,             -- of the first answer token, from 1
    known BOOLEAN,            -- every step's most probable token is the answer's
    p_steps DOUBLE[],         -- probability of each answer token
    ranks INTEGER[],          -- rank of each answer token, from 1
    answer_tokens VARCHAR[],
    argmax_tokens VARCHAR[],  -- what the model says at each step
    n_words INTEGER,          -- words of the prompt: the paths of eq. 3
    prompt VARCHAR            -- the text the model was given
);
CREATE TABLE unusable (
    model VARCHAR,
    query VARCHAR,
    reason VARCHAR,           -- short code
    detail VARCHAR            -- what is wrong and what to do
);
CREATE TABLE attribution (
    key VARCHAR,
    model VARCHAR,
    method VARCHAR,
    query VARCHAR,
    max_score DOUBLE,         -- highest score of the query; rel is score / max_score
    n_positive INTEGER,       -- neurons with a positive score; 0: no knowledge neurons
    kept INTEGER,             -- neurons with rel >= floor, stored in table score
    floor DOUBLE,             -- lowest rel stored sparsely
    paths INTEGER,            -- (path, layer) integrals
    converged INTEGER,        -- of which converged
    max_nodes INTEGER,        -- most quadrature nodes used
    max_residual DOUBLE,      -- largest relative completeness residual
    flagged_layers SMALLINT[],-- layers whose normalising sum is negative or near 0 (eq. 5)
    dense_row INTEGER         -- row of the shard's dense.npy
);
CREATE TABLE score (
    key VARCHAR,              -- table attribution
    layer SMALLINT,
    neuron INTEGER,           -- from 0 within its layer
    score FLOAT,              -- attribution (eq. 2-5)
    rel DOUBLE                -- score / max_score of the query
);
CREATE TABLE path (
    key VARCHAR,              -- table attribution
    step SMALLINT,            -- answer token, from 0
    path SMALLINT,            -- from 0
    word VARCHAR,             -- the word masked; empty where the baseline is not per word
    layer SMALLINT,
    f_start DOUBLE,           -- F at the baseline
    f_end DOUBLE,             -- F at the query's own activations
    total DOUBLE,             -- sum of the attributions, difference form
    residual DOUBLE,          -- |total - (f_end - f_start)|
    nodes SMALLINT,
    converged BOOLEAN
);
CREATE TABLE scan (
    key VARCHAR,
    model VARCHAR,
    method VARCHAR,
    query VARCHAR,            -- the fact's main query
    role VARCHAR,             -- kn: the n neurons of highest rel; layer_control: others of the same layers; drop_control: others matched on single drops
    operation VARCHAR,        -- zero
    n INTEGER,                -- neurons scanned
    p DOUBLE,                 -- before any ablation
    p_root DOUBLE
);
CREATE TABLE scan_neuron (
    key VARCHAR,              -- table scan
    position SMALLINT,        -- from 0, best first; controls stand at the place of the neuron they are matched to
    layer SMALLINT,
    neuron INTEGER
);
CREATE TABLE ablation (
    key VARCHAR,              -- table scan
    layer_a SMALLINT,
    neuron_a INTEGER,
    layer_b SMALLINT,         -- NULL: a alone was ablated
    neuron_b INTEGER,
    p DOUBLE,                 -- after the ablation
    p_root DOUBLE,
    rank INTEGER,
    argmax_kept BOOLEAN       -- the answer is still the most probable at every step
);
CREATE TABLE edited_set (
    "set" VARCHAR,            -- md5 of 'layer:neuron' sorted and joined by ','
    model VARCHAR,
    n INTEGER,
    layers SMALLINT[],
    neurons INTEGER[]
);
CREATE TABLE irrelevant (
    model VARCHAR,
    fact VARCHAR,
    other VARCHAR,            -- a fact that editing the first should leave alone
    same_relation BOOLEAN     -- only where one relation is all there is
);
CREATE TABLE edit (
    key VARCHAR,
    model VARCHAR,
    "set" VARCHAR,            -- table edited_set
    query VARCHAR,            -- the query read
    operation VARCHAR,        -- suppress, enhance, mean or resample
    p_before DOUBLE,
    p_after DOUBLE,
    p_root_before DOUBLE,
    p_root_after DOUBLE,
    rank_before INTEGER,
    rank_after INTEGER,
    wrong_object VARCHAR,     -- a fixed wrong answer
    p_wrong_before DOUBLE,
    p_wrong_after DOUBLE
);
CREATE TABLE claim (
    key VARCHAR,
    model VARCHAR,
    method VARCHAR,
    fact VARCHAR,
    relation VARCHAR,
    lang VARCHAR,
    query VARCHAR,
    object VARCHAR,           -- the object claimed
    correct BOOLEAN,
    part VARCHAR,             -- neurons, threshold or test (split by subject)
    p DOUBLE,
    p_root DOUBLE,
    rank INTEGER,
    is_argmax BOOLEAN
);
CREATE TABLE claim_neuron (
    key VARCHAR,              -- table claim
    layer SMALLINT,
    neuron INTEGER,
    activation FLOAT,         -- object in the input, at its positions
    attribution FLOAT         -- with the claimed object as answer
);

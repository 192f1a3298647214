-- Every table a shard may hold, and what each column means. Scores and probabilities are raw; thresholds are arguments of macros.
-- A shard's Parquet files have exactly these columns. Keys name a result by everything its value depends on.

CREATE TABLE model ( -- one row a model that was run; its label is its identity
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
CREATE TABLE site ( -- where the neurons of a layer are: the input of its second MLP linear
    model VARCHAR,            -- table model
    stack VARCHAR,            -- empty, or the stack of a model that has several
    layer SMALLINT,           -- from 0
    width INTEGER,            -- neurons of the layer
    "offset" BIGINT,          -- place of the layer's first neuron in dense arrays
    module VARCHAR,           -- the second MLP linear, whose input the neurons are
    call SMALLINT,            -- which call of that module, where one module serves several layers
    gated BOOLEAN             -- whether the MLP multiplies by a gate
);
CREATE TABLE method ( -- one row an attribution method with all its options
    method VARCHAR,           -- label: a preset, or a preset and what differs
    options JSON,             -- every option
    numerics_version INTEGER  -- raised when the same options give other values
);
CREATE TABLE query ( -- one row a prompt: a fact in one language and template
    query VARCHAR,            -- 16 hex digits of the texts below
    fact VARCHAR,             -- the same fact in all languages and templates
    relation VARCHAR,         -- Wikidata property or the dataset's own name
    lang VARCHAR,             -- language code as the dataset writes it
    template VARCHAR,         -- with [X] and [Y]
    subject VARCHAR,          -- what [X] stands for
    object VARCHAR,           -- the right answer
    alternatives VARCHAR[],   -- the subject's other right answers that the data know
    prompt_note VARCHAR       -- what was put before the template, if anything
);
CREATE TABLE template_order ( -- the data's order of the templates of a relation and language, which decides between main queries
    relation VARCHAR,         -- as in table query
    lang VARCHAR,             -- as in table query
    template VARCHAR,         -- as in table query
    position INTEGER          -- from 0; where two data sets differ, the lower one counts
);
CREATE TABLE prediction ( -- what a model answers to a query, unedited
    key VARCHAR,              -- identity of the result: a hash of all its value depends on
    model VARCHAR,            -- table model
    query VARCHAR,            -- table query
    p DOUBLE,                 -- probability of the answer: product over its tokens
    p_root DOUBLE,            -- p to the power 1/tokens; compare this across languages
    rank INTEGER,             -- of the first answer token, from 1
    known BOOLEAN,            -- every step's most probable token is the answer's
    p_steps DOUBLE[],         -- probability of each answer token
    ranks INTEGER[],          -- rank of each answer token, from 1
    answer_tokens VARCHAR[],  -- as the tokenizer writes them
    argmax_tokens VARCHAR[],  -- what the model says at each step
    n_words INTEGER,          -- words of the prompt with tokens of their own: the paths of eq. 3
    words_without_path INTEGER, -- words of the prompt that another word's tokens cover; null in older results
    prompt VARCHAR,           -- the text the model was given
    says VARCHAR[],           -- the five likeliest first tokens, each continued greedily to a word; null in older results
    says_p DOUBLE[]           -- probability of each: product over its tokens
);
CREATE TABLE unusable ( -- queries a model cannot use, and why
    model VARCHAR,            -- table model
    query VARCHAR,            -- table query
    reason VARCHAR,           -- short code
    detail VARCHAR            -- what is wrong and what to do
);
CREATE TABLE attribution ( -- one row a query attributed with a method (eq. 1-5)
    key VARCHAR,              -- identity of the result: a hash of all its value depends on
    model VARCHAR,            -- table model
    method VARCHAR,           -- table method
    query VARCHAR,            -- table query
    max_score DOUBLE,         -- highest score of the query; rel is score / max_score
    n_positive INTEGER,       -- neurons with a positive score; 0: no knowledge neurons
    kept INTEGER,             -- neurons with rel >= floor, stored in table score
    floor DOUBLE,             -- lowest rel stored sparsely
    paths INTEGER,            -- (path, layer) integrals
    converged INTEGER,        -- of which converged
    max_nodes INTEGER,        -- most quadrature nodes used
    max_residual DOUBLE,      -- largest relative completeness residual
    flagged_layers SMALLINT[],-- layers whose normalising sum is negative or near 0 (eq. 5)
    dense_row INTEGER         -- row among the shard's dense scores; null where none are stored
);
CREATE TABLE score ( -- every neuron of an attribution with rel >= floor; all others are in dense scores
    key VARCHAR,              -- table attribution
    layer SMALLINT,           -- from 0
    neuron INTEGER,           -- from 0 within its layer
    score FLOAT,              -- attribution (eq. 2-5)
    rel DOUBLE                -- score / max_score of the query
);
CREATE TABLE path ( -- one row an integral along a path from a baseline (eq. 2-3): completeness and nodes
    key VARCHAR,              -- table attribution
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
CREATE TABLE scan ( -- one row a scan of n neurons of a query: singles and all pairs ablated (algorithm 1)
    key VARCHAR,              -- identity of the result: a hash of all its value depends on
    model VARCHAR,            -- table model
    method VARCHAR,           -- table method
    query VARCHAR,            -- the fact's main query
    role VARCHAR,             -- kn: the n neurons of highest rel; layer_control: others of the same layers; drop_control: others matched on single drops
    operation VARCHAR,        -- zero
    n INTEGER,                -- neurons scanned
    p DOUBLE,                 -- before any ablation
    p_root DOUBLE             -- p to the power 1/tokens
);
CREATE TABLE scan_neuron ( -- the neurons of a scan, best first
    key VARCHAR,              -- table scan
    position SMALLINT,        -- from 0, best first; controls stand at the place of the neuron they are matched to
    layer SMALLINT,           -- from 0
    neuron INTEGER            -- from 0 within its layer
);
CREATE TABLE ablation ( -- p of the answer with one neuron, or two, set to zero
    key VARCHAR,              -- table scan
    layer_a SMALLINT,         -- the neuron ablated, or the first of two
    neuron_a INTEGER,         -- from 0 within its layer
    layer_b SMALLINT,         -- NULL: a alone was ablated
    neuron_b INTEGER,         -- NULL: a alone was ablated
    p DOUBLE,                 -- after the ablation
    p_root DOUBLE,            -- p to the power 1/tokens
    rank INTEGER,             -- of the first answer token, after the ablation
    argmax_kept BOOLEAN       -- the answer is still the most probable at every step
);
CREATE TABLE edited_set ( -- sets of neurons that were edited or read, each stored once
    "set" VARCHAR,            -- md5 of 'layer:neuron' sorted and joined by ','
    model VARCHAR,            -- table model
    n INTEGER,                -- neurons in the set
    layers SMALLINT[],        -- of each neuron, from 0
    neurons INTEGER[]         -- each within its layer, from 0
);
CREATE TABLE irrelevant ( -- other facts that an edit of the first is read on
    model VARCHAR,            -- table model
    fact VARCHAR,             -- the fact edited
    other VARCHAR,            -- another fact, which editing the first should leave alone, or move less
    same_relation BOOLEAN,    -- the two are of one relation
    kind VARCHAR              -- other relation, same relation (other answer) or same answer; null in older results: as same_relation says
);
CREATE TABLE edit ( -- p of the answer to a query before and after an edit of a set (eq. 11)
    key VARCHAR,              -- identity of the result: a hash of all its value depends on
    model VARCHAR,            -- table model
    "set" VARCHAR,            -- table edited_set
    query VARCHAR,            -- the query read
    operation VARCHAR,        -- suppress (0), enhance (doubled); else what is put in: mean:HASH of the queries averaged, resample:QUERY
    p_before DOUBLE,          -- probability of the answer, unedited
    p_after DOUBLE,           -- and with the set edited
    p_root_before DOUBLE,     -- p_before to the power 1/tokens
    p_root_after DOUBLE,      -- p_after to the power 1/tokens
    rank_before INTEGER,      -- of the first answer token, unedited
    rank_after INTEGER,       -- and with the set edited
    wrong_object VARCHAR,     -- a fixed wrong answer
    p_wrong_before DOUBLE,    -- probability of the wrong answer, unedited
    p_wrong_after DOUBLE,     -- and with the set edited
    kl DOUBLE,                -- KL(unedited || edited) of the next-token distribution, in nats; read on one unrelated query a fact
    rerouted BOOLEAN          -- whether the model, free to route, would run other experts above the edit; null without routed experts
);
CREATE TABLE vocabulary ( -- one row a layer whose neurons' output vectors were read through the model's last norm and head
    key VARCHAR,              -- identity of the result: a hash of all its value depends on
    model VARCHAR,            -- table model
    layer SMALLINT            -- from 0
);
CREATE TABLE promoted ( -- the tokens whose logits a neuron's output vector raises and lowers most, strongest first
    key VARCHAR,              -- table vocabulary, which says of which model and layer
    neuron INTEGER,           -- from 0 within its layer
    promotes VARCHAR[],       -- tokens, with the space before a word
    promotes_by FLOAT[],      -- what each logit gains
    suppresses VARCHAR[],     -- tokens
    suppresses_by FLOAT[],    -- what each logit gains, so below 0
    length FLOAT,             -- of the vector that the neuron adds at activation 1
    seen FLOAT                -- spread of the logits over that of random directions: 1 is usual, near 0 the head does not see it
);
CREATE TABLE wiring ( -- what a neuron reads, and whose output vectors lie nearest to its own; of neurons with rel >= 0.1 somewhere or a note
    key VARCHAR,              -- identity of the result: a hash of all its value depends on
    model VARCHAR,            -- table model
    layer SMALLINT,           -- from 0
    neuron INTEGER,           -- from 0 within its layer
    reads VARCHAR[],          -- tokens whose embedding raises the neuron's input most; of gated MLPs the gate's; null where they cannot be read
    reads_by FLOAT[],         -- row of the first MLP linear times the embedding behind the block's norm
    up VARCHAR[],             -- of gated MLPs the tokens that move the other factor most, up or down; else null
    up_by FLOAT[],            -- as reads_by, with its sign
    near_layers SMALLINT[],   -- neurons whose output vectors point most the same way, nearest first
    near_neurons INTEGER[],   -- each within its layer, from 0
    near_by FLOAT[]           -- cosine of the two output vectors
);
CREATE TABLE activation ( -- activations of neurons where the answer's first token is read, unedited: one row a query and set
    key VARCHAR,              -- identity of the result: a hash of all its value depends on
    model VARCHAR,            -- table model
    query VARCHAR,            -- table query
    "set" VARCHAR,            -- table edited_set: the neurons, in the order of the values
    activations FLOAT[]       -- one for each neuron of the set
);
CREATE TABLE note ( -- what a person wrote about a neuron; the row written last counts, and one without words takes it back
    model VARCHAR,            -- table model
    layer SMALLINT,           -- from 0
    neuron INTEGER,           -- from 0 within its layer
    name VARCHAR,             -- what the neuron is called, or empty
    tags VARCHAR[],           -- lists that it is in
    text VARCHAR,             -- a note, or empty
    written DOUBLE            -- when, in seconds since 1970
);
CREATE TABLE claim ( -- a fact with its right object or a wrong one, to be judged
    key VARCHAR,              -- identity of the result: a hash of all its value depends on
    model VARCHAR,            -- table model
    method VARCHAR,           -- table method
    fact VARCHAR,             -- the fact the claim is about
    relation VARCHAR,         -- as in table query
    lang VARCHAR,             -- as in table query
    query VARCHAR,            -- the fact's main query, table query
    object VARCHAR,           -- the object claimed
    correct BOOLEAN,          -- the object is the right one
    part VARCHAR,             -- neurons, threshold or test (split by subject)
    p DOUBLE,                 -- probability of the object claimed
    p_root DOUBLE,            -- p to the power 1/tokens
    rank INTEGER,             -- of the object's first token, from 1
    is_argmax BOOLEAN         -- every step's most probable token is the object's
);
CREATE TABLE claim_neuron ( -- what each neuron does when a claim is read
    key VARCHAR,              -- table claim
    layer SMALLINT,           -- from 0
    neuron INTEGER,           -- from 0 within its layer
    activation FLOAT,         -- object in the input, at its positions
    attribution FLOAT         -- with the claimed object as answer
);

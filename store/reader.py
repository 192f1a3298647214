"""A live view of a store that others may be writing: new shards go into a DuckDB in memory, and every table answers SQL.

Nothing is ever locked: shards never change once committed, so a reader only looks for folders it has not seen, beginning with a copy of
results.duckdb where there is one (store/base.py). A second copy of a result (two runs computed the same, a compaction) is ignored by its
key; a damaged shard is put aside and named, the rest goes on. A folder that cannot be written, or vanishes, takes nothing away.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, TypeVar, cast

import duckdb
import numpy as np
import numpy.typing as npt
import polars as pl

from knscope.store import base, extension, schema
from knscope.store.address import Addresses
from knscope.store.arrivals import Arrivals
from knscope.store.attached import CONFIG
from knscope.store.catalog import Catalog
from knscope.store.database import prepare
from knscope.store.dense import DamagedShardError, gone_or_damaged, only_rows
from knscope.store.errors import UserError
from knscope.store.frames import frame_of
from knscope.store.intake import portions
from knscope.store.layout import check
from knscope.store.live import Live
from knscope.store.shards import Shard
from knscope.store.view import View, arguments

MEMORY = "2GB"
KEPT = 4  # answers at once
T = TypeVar("T")


class Reader:
    """An open store. Thread-safe: every call takes a cursor of its own; ingesting and asking may overlap.

    :param memory_limit: what DuckDB may take; beyond it, rows go to a temporary folder that closing removes
    :param spill: False keeps all rows in memory, for a reader whose SQL somebody else writes: it could write into that folder
    :param dense: how closely dense scores are checked on opening: their size (each row again when it is read), or every row
    """

    def __init__(
        self, path: Path | str, memory_limit: str = MEMORY, dense: Literal["size", "rows"] = "size", spill: bool = True
    ) -> None:
        self.path = check(path)
        self.memory_limit = memory_limit
        self.passed_over = ""
        """Why results.duckdb is of no use, and what to do; empty where it is used or not there."""
        self._lock = threading.Lock()
        self._extending = threading.Lock()
        self._known_catalog: tuple[int, Catalog | None] = (-1, None)
        self._kept: tuple[int, dict[tuple[str, ...], Any]] = (-1, {})
        self._spill = TemporaryDirectory(prefix="knscope-", ignore_cleanup_errors=True)
        self._instance = duckdb.connect(
            config={
                "memory_limit": memory_limit,
                "temp_directory": self._spill.name if spill else "",
                "python_enable_replacements": "false",
                **CONFIG,
            }
        )
        prepare(self._instance)
        # Who checks every row reads every shard. Locked before a shard is read.
        start = base.start(self._instance, self.path, Path(self._spill.name) if dense == "size" else None)
        self._intake, self.passed_over = start.intake, start.passed_over
        self.generation = 1 if start.seen else 0
        """Counts up whenever something new was taken in."""
        self.changed: dict[str, int] = {}
        """By model, the generation that brought the last of its results; none since opening where it is not named."""
        self.heard: dict[str, int] = {}
        """By run, the generation that brought the last of its shards; none since opening where it is not named."""
        self.extended = 0
        """Counts up whenever scores below the floor were added."""
        self.live = Live(self)
        self._arrivals = Arrivals(self.path, start.seen, dense)
        self.damaged = self._arrivals.damaged
        """What is put aside, shards above all, and why."""
        self.poll()

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._instance.close()
        self._spill.cleanup()

    # --- what is new ---

    def poll(self, without: str = "", afresh: bool = False) -> bool:
        """Take in shards committed since the last look; True when something new came. Cheap when there is nothing.

        Raises UserError where it does not fit; what was there before still answers.

        :param without: a run whose shards can wait
        :param afresh: read every folder, also of those that have not changed by what the file system says
        """
        with self._lock:
            before = self.generation
            for attempt in range(_TRIES):
                for shards in portions(self._arrivals.read(without, afresh or attempt > 0)):
                    self._take_in(shards)
                if not self._arrivals.missed:
                    break
            return self.generation > before

    def _take_in(self, shards: Sequence[Shard]) -> None:
        with self.cursor() as cursor:
            try:
                models, refused = self._intake.take_in(cursor, shards)
            except duckdb.OutOfMemoryException as error:
                raise UserError(
                    f"{self.path} does not fit in memory and the temporary folder; open it with a higher memory_limit, "
                    "or set TMPDIR to a disk with more room"
                ) from error
        self._arrivals.saw(shards)
        self.damaged |= {str(path): why for path, why in refused.items()}
        self.generation += 1
        self.changed |= dict.fromkeys(models, self.generation)
        self.heard |= {shard.path.parent.parent.name: self.generation for shard in shards}

    # --- asking ---

    def sql(self, text: str, params: Mapping[str, Any] | Sequence[Any] | None = None) -> pl.DataFrame:
        """Trusted SQL over every table and macro, as a polars frame."""
        with self.cursor() as cursor:
            return frame_of(cursor, text, params)

    def table(self, name: str) -> pl.DataFrame:
        """Every row of a stored table. Raises UserError listing the tables where there is none of that name."""
        if name not in schema.tables():
            raise UserError(f"no table {name!r}; the tables are {', '.join(schema.tables())}")
        return self.sql(f"FROM {name}")

    @contextmanager
    def cursor(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A cursor of one's own: interrupt it from another thread to cancel what it runs."""
        cursor = self._instance.cursor()
        try:
            yield cursor
        finally:
            cursor.close()

    def keys(self, table: str) -> frozenset[str]:
        """Keys stored of `prediction`, `attribution`, `scan`, `edit` or `claim`."""
        return frozenset(self._intake.keys[table])

    def stamp(self, model: str) -> tuple[int, int]:
        """Another one whenever rows of the model were added."""
        return self.changed.get(model, 0), self.extended

    def has_dense(self, key: str) -> bool:
        """Whether all scores of an attribution are stored, or only the rows from the floor up."""
        return key in self._intake.dense

    def dense(self, key: str) -> npt.NDArray[np.float32]:
        """All scores of one attribution, (n_neurons,), read from disk and checked.

        Raises KeyError for a key that is not stored; UserError where none of its scores were stored, or no copy can be read.
        """
        if key not in self._intake.dense and key in self._intake.keys["attribution"]:
            raise only_rows(1)
        trouble = DamagedShardError()
        for _ in range(_TRIES):
            try:
                return self._intake.scores(key, self.damaged)
            except DamagedShardError as error:
                trouble = error
            self.poll(afresh=True)  # a compaction may have moved it
        raise gone_or_damaged(trouble) from trouble

    @property
    def catalog(self) -> Catalog:
        """What there is to choose from; asked once a generation, since every View is checked against it."""
        generation, catalog = self._known_catalog
        if catalog is None or generation != self.generation:
            generation = self.generation  # as of before the questions: what comes between them makes it old
            with self.cursor() as cursor:
                catalog = Catalog.of(cursor)
            self._known_catalog = (generation, catalog)
        return catalog

    def models(self) -> list[str]:
        return self.catalog.models()

    def methods(self, model: str | None = None) -> list[str]:
        """Methods with stored attributions, of one model or of any."""
        return self.catalog.methods(model)

    def langs(self, model: str | None = None) -> list[str]:
        """Languages with stored predictions, English first."""
        return self.catalog.langs(model)

    def relations(self) -> list[str]:
        return sorted(self.catalog.relations)

    def addresses(self, model: str) -> Addresses:
        """The layers of a model; none where it is not stored."""
        return Addresses.of(self.sql('SELECT layer, "offset", width FROM site WHERE model = $1', [model]).iter_rows())

    def depth(self, model: str) -> int:
        """Layers of a model; 0 where it is not stored."""
        return self.catalog.depth.get(model, 0)

    def kept(self, name: tuple[str, ...], make: Callable[[], T]) -> T:
        """What `make` answers, made again only when the store has changed; the few asked for last are held."""
        generation, answers = self._kept
        if generation != self.generation:
            generation, answers = self._kept = self.generation, {}
        if name not in answers:
            found = make()
            for old in list(answers)[: max(0, len(answers) - KEPT + 1)]:
                answers.pop(old, None)
            answers[name] = found
        return cast(T, answers[name])

    # --- macros with a View ---

    def view(
        self,
        model: str | None = None,
        method: str | None = None,
        langs: Sequence[str] | None = None,
        taus: Mapping[str, float] | float | None = None,
        **others: Any,
    ) -> View:
        """A View of what is stored: the only model and method, and every language, where none is named.

        :param taus: by language, or one for all; others are defaults
        :param others: any other field of View
        :raises UserError: listing what there is, where a name is not stored or one of several must be named
        """
        chosen = model or _only("model", self.models())
        if chosen not in self.models():
            raise UserError(
                f"the model {chosen} is not in this store; there is {', '.join(self.models()) or 'none yet'}"
            )
        langs = tuple(langs or self.langs(chosen))
        given = dict.fromkeys(langs, taus) if isinstance(taus, int | float) else dict(taus or {})
        view = View(chosen, method or _only("method", self.methods(chosen)), langs, tuple(given.items()), **others)
        self.validate(view)
        return view

    def validate(self, view: View) -> None:
        """Raises UserError, listing what there is, where a View names what is not stored."""
        self.catalog.validate(view, self.unreadable())

    def macro_sql(self, name: str, view: View, pairs: View | None = None) -> str:
        """The exact SQL that `name`, a method of this class, runs for a View."""
        return f"FROM {name}({arguments(name, view, pairs)})"

    def kn(self, view: View) -> pl.DataFrame:
        """Eq. 6-7. Columns fact, relation, lang, layer, neuron, rel (highest over its queries), share (of its queries)."""
        return self.ask("kn", view)

    def likn(self, view: View) -> pl.DataFrame:
        """Eq. 8. Columns fact, relation, layer, neuron, rel and rel_max (lowest and highest over languages)."""
        return self.ask("likn", view)

    def layer_hist(self, view: View) -> pl.DataFrame:
        """Columns kind (a language, or LIKN), layer, n (pooled), share (mean over facts of the fact's own share)."""
        return self.ask("layer_hist", view)

    def overlap(self, view: View) -> pl.DataFrame:
        """What languages share, two by two, each with itself, and all together (LIKN).

        Columns lang_a, lang_b, shared (neurons, pooled over facts), facts (with neurons in both), facts_that_share.
        """
        return self.ask("overlap", view)

    def dkn(self, view: View) -> pl.DataFrame:
        """Eq. 9-10: the degenerate pairs, of knowledge neurons and of the controls.

        Columns role (kn, layer_control, drop_control), fact, relation, lang, query, layer_a, neuron_a, layer_b, neuron_b,
        p, p_a, p_b, p_ab, drop_a, drop_b, drop_ab, interaction (in logits), paper (true), strict, expressed.
        """
        return self.ask("dkn", view)

    def dkn_rate(self, view: View) -> pl.DataFrame:
        """Columns role, lang, facts (with an eligible pair), pairs (eligible), paper, strict, expressed, facts_with (a pair)."""
        return self.ask("dkn_rate", view)

    def dkn_layers(self, view: View) -> pl.DataFrame:
        """Members of degenerate pairs. Columns layer, n (pooled), share (mean over facts of the fact's own share)."""
        return self.ask("dkn_layers", view)

    def dkn_service(self, view: View, pairs: View | None = None) -> pl.DataFrame:
        """The degenerate pairs of knowledge neurons (of `pairs`, a narrower View), and whom they serve among the facts of `view`.

        Columns as of dkn without role, then a_only and b_only (other facts that one of the two serves alone) and serves
        (degenerate, redundant or one-sided).
        """
        return self.ask("dkn_service", view, pairs)

    def edits(self, view: View) -> pl.DataFrame:
        """Eq. 11's raw rows: stored edits of each fact's N and L at these thresholds, read on the fact and on irrelevant ones.

        Columns edited (kn, likn), fact, relation, lang (LIKN for L), neurons, set, operation, relevant, query, fact_read,
        lang_read, p_before, p_after, change.
        """
        return self.ask("edits", view)

    def factcheck(self, view: View) -> pl.DataFrame:
        """Table 3's raw rows: every stored claim, and what the View's degenerate neurons say of it.

        Columns fact, relation, lang, query, object (claimed), correct, part (neurons, threshold, test), neurons (degenerate
        ones read), attribution (their mean; null without any), judged_true (above lam), p, p_root, rank, is_argmax.
        """
        return self.ask("factcheck", view)

    def queries(self, view: View) -> pl.DataFrame:
        """One row a stored (model, query). Columns query, fact, relation, lang, template, subject, object, p, p_root, rank,
        known, n_kn and residual (these two null where not attributed with the View's method), stays (of the neurons above τ on
        one of the fact's templates in the language, the share that is so on another; null without two templates or neurons)."""
        return self.ask("queries", view)

    def ask(self, macro: str, view: View, pairs: View | None = None) -> pl.DataFrame:
        """The ordered rows of a macro for a View, once its scores reach down to every τ."""
        order = f" ORDER BY {_ORDER[macro]}" if macro in _ORDER else ""
        self.validate(view)
        for _ in range(_TRIES):
            self.extend(view)
            try:
                return self.sql(self.macro_sql(macro, view, pairs) + order)
            except duckdb.InvalidInputException as error:
                if "the floor" not in str(error):
                    raise
        raise UserError("results arrive faster than scores below the floor can be added; wait for the run, or raise τ")

    def extend(
        self,
        view: View,
        progress: Callable[[int, int], None] = lambda done, total: None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> bool:
        """Add what a τ below the floor needs from the dense scores; at once where nothing is missing. Asking does it by itself.

        `progress` is called with queries done and to do. False when cancelled: what was added stays, and the rest comes when
        it is next asked for. Raises UserError where dense scores cannot be read.
        """
        if min(view.tau.values()) >= self.catalog.floor:
            return True
        with self._extending, self.cursor() as cursor:
            chosen = f"chosen({arguments('chosen', view.with_(queries=()))})"
            missing = extension.missing_rows(cursor, chosen, view.tau)
            if not missing:
                return True
            addresses, steps = self.addresses(view.model), extension.steps(missing, self._intake.dense, self.dense)
            table, report = f"{self._intake.large}score_row", lambda done: progress(done, len(missing))
            try:
                return extension.extend(cursor, table, steps, addresses, report, cancelled)
            finally:
                self.extended += 1

    def unreadable(self) -> str:
        """What to say beside a missing result when shards cannot be read; empty when all can."""
        if not self.damaged:
            return ""
        return (
            f"; {len(self.damaged)} of its shards cannot be read ({next(iter(self.damaged.values()))}): "
            f"knscope store verify {self.path} names them, and running again computes anew what they held"
        )


_TRIES = 5
_ORDER = {
    "kn": "fact, lang, rel DESC, layer, neuron",
    "likn": "fact, rel DESC, layer, neuron",
    "overlap": "lang_a, lang_b",
    "layer_hist": "kind, layer",
    "dkn": "role, fact, lang, drop_ab DESC",
    "dkn_rate": "role DESC, lang",
    "dkn_layers": "layer",
    "dkn_service": "fact, lang, drop_ab DESC",
    "factcheck": "relation, fact, lang, correct DESC, object",
    "queries": "relation, fact, lang, template",
}


def _only(what: str, there: Sequence[str]) -> str:
    if len(there) != 1:
        raise UserError(f"name a {what}; there is {', '.join(there) or 'none yet'}")
    return there[0]

"""The View and output options that commands share, and how their tables are printed."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from knscope.store.errors import UserError
from knscope.tui.commands import common, options

if TYPE_CHECKING:
    from knscope.analysis.statistics.table import Table
    from knscope.store.reader import Reader
    from knscope.store.view import View

COMPUTED = {"dkn": ("scan", "dkn"), "edits": ("edit", "edit"), "edits_others": ("edit", "edit")}
"""Where the results behind a command's table are stored, and what --what computes them."""
THRESHOLDS = ("template_share", "t_low", "t_high", "delta", "drop", "dkn_share", "lam")
OUTPUT = ("form", "out", "as_json")
Decorator = Callable[[Callable[..., None]], Callable[..., None]]


@dataclass(frozen=True)
class Shown:
    """The options of a command that shows a View."""

    store: options.Store
    model: options.Model = None
    method: options.Method = None
    langs: options.Langs = None
    relations: options.Relations = None
    fact: options.FactIds = None
    tau: options.Tau = None
    template_share: options.Share = None
    t_low: options.TLow = None
    t_high: options.THigh = None
    delta: options.Delta = None
    drop: options.Drop = None
    dkn_share: options.DknShare = None
    lam: options.Lam = None
    known: options.Known = None
    form: options.Format = "table"
    out: options.Output = None
    as_json: options.Json = False

    def view(self, reader: Reader, model: str | None = None, method: str | None = None) -> View:
        """The View over what is stored. Raises UserError listing what there is."""
        from knscope.analysis.stored.standing import knows_any

        given = {name: value for name in THRESHOLDS if (value := getattr(self, name)) is not None}
        named = model or self.model, method or self.method
        view = view_of(reader, *named, self.langs, self.relations, self.tau, **given)
        if self.fact:
            view = view.with_(facts=_stored(reader, self.fact))
        return view.with_(known=knows_any(reader, view) if self.known is None else self.known)

    def views(self, reader: Reader) -> list[View]:
        """A View for each stored model and method, or for those that are named."""
        several = self.model is None and reader.models()
        models = reader.models() if several else [common.choose("model", self.model, reader.models())]
        return [
            self.view(reader, label, method)
            for label in models
            for method in ([self.method] if self.method else reader.methods(label))
        ]

    def _format(self, form: str) -> str:
        from knscope.tui.printing import writing

        return form if self.out is None else writing.format_of(self.out, None if form == "table" else form)

    @property
    def draws(self) -> bool:
        """Whether a figure is asked for."""
        from knscope.tui.printing import writing

        return self._format("json" if self.as_json else self.form) in writing.FIGURES

    def show(self, build: Callable[[Reader, View], Table | Sequence[Table]]) -> None:
        """Print or write the table that `build` makes; of several the first is the command's own."""
        from knscope.analysis.statistics.table import Table
        from knscope.analysis.stored.standing import captioned, with_standing
        from knscope.tui.printing import output, writing

        form = "json" if self.as_json else self.form
        output.check(form, self.out)
        format_ = self._format(form)
        with opened(self.store) as reader:
            view = self.view(reader)
            built = build(reader, view)
            first, *also = (built,) if isinstance(built, Table) else built
            table = with_standing(first, reader, view)
            _tell_missing(reader, view, table.name, self.store)
            holds_data = format_ in (*writing.DATA, "spreadsheet")
            if format_ in ("tex", "latex", "json"):
                table = captioned(table, view)
            output.emit([labelled(table, view) if holds_data else table, *also], form, self.out)


def shows(*thresholds: str, output: bool = True) -> Decorator:
    """Give a command a `Shown`; `thresholds`: those of the View that it takes beside `template_share`."""
    left_out = {*THRESHOLDS} - {"template_share", *thresholds}
    return takes(Shown, left_out if output else {*left_out, *OUTPUT})


def takes(kind: type[Any], left_out: Collection[str] = ()) -> Decorator:
    """Give a command an object of a dataclass, whose fields are added to its command line as options."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        shared = inspect.signature(kind, eval_str=True).parameters
        own = list(inspect.signature(command, eval_str=True).parameters.values())[1:]
        parameters = [
            *(one for name, one in shared.items() if name not in (*left_out, *OUTPUT)),
            *own,
            *(shared[name] for name in OUTPUT if name not in left_out),
        ]

        def run(**given: Any) -> None:
            mine = {one.name: given.pop(one.name) for one in own}
            command(kind(**given), **mine)

        run.__name__, run.__doc__, run.__annotations__ = command.__name__, command.__doc__, {}
        keyword = inspect.Parameter.KEYWORD_ONLY
        run.__signature__ = inspect.Signature([one.replace(kind=keyword) for one in parameters])  # type: ignore[attr-defined]
        return run

    return decorate


def _stored(reader: Reader, facts: Sequence[str]) -> tuple[str, ...]:
    """Ids of facts. Raises UserError for one that the store does not hold."""
    there = set(reader.sql("SELECT DISTINCT fact FROM query")["fact"])
    if lacking := [one for one in facts if one not in there]:
        raise UserError(
            f"--fact {lacking[0]}: the store holds no such fact; knscope facts and the query table name them"
        )
    return tuple(facts)


def _tell_missing(reader: Reader, view: View, name: str, store: Path) -> None:
    """Say on stderr which run computes a table that has no results yet."""
    from knscope.tui.printing import output

    stored, what = COMPUTED.get(name, ("", ""))
    if stored and not reader.sql(f"SELECT 1 FROM {stored} WHERE model = $model LIMIT 1", {"model": view.model}).height:
        command = f"knscope run {store} --model M --data D --method {view.method} --what {what}"
        output.say(f"nothing of this is computed yet for {view.model}; compute it with: {command}")


def sign(text: str) -> Any:
    """What --sign says. Raises UserError where it is neither."""
    from knscope.analysis.stored.negative import SIGNS

    if text not in SIGNS:
        raise UserError(f"--sign {text}: choose one of {', '.join(SIGNS)}")
    return text


def labelled(table: Table, view: View) -> Table:
    """With the model and the method in columns of their own: files have no title, and people concatenate them."""
    import polars as pl

    names = (pl.lit(view.model).alias("model"), pl.lit(view.method).alias("method"))
    return replace(table, frame=table.frame.select(*names, pl.all()))


def view_of(
    reader: Reader,
    model: str | None,
    method: str | None,
    langs: str | None = None,
    relations: str | None = None,
    tau: str | None = None,
    **thresholds: Any,
) -> View:
    """The View that a command line describes, over what is stored. Raises UserError listing what there is."""
    label = common.choose("model", model, reader.models())
    chosen = common.choose("method", method, reader.methods(label))
    stored = reader.langs(label)
    wanted = common.words("--langs", langs) or tuple(stored)
    if missing := [lang for lang in wanted if lang not in stored]:
        raise UserError(f"--langs {missing[0]}: has no results; the store has: {', '.join(stored) or 'none yet'}")
    given = {"relations": common.words("--relations", relations), **thresholds}
    return thresholds_of(wanted, tau, model=label, method=chosen, **given)


def thresholds_of(langs: tuple[str, ...], tau: str | None, **fields: Any) -> View:
    """The View of these languages with the thresholds of --tau. Raises UserError for a value out of range."""
    from knscope.store.view import View

    taus = common.taus(tau)
    everywhere = taus.pop("", None)
    if everywhere is not None:
        taus = dict.fromkeys(langs, everywhere) | taus
    return View(langs=langs, taus=tuple(taus.items()), **fields)


@contextmanager
def opened(store: Path) -> Iterator[Reader]:
    """A reader over all results of STORE. Reports on stderr what cannot be read."""
    from knscope.store import open as open_existing
    from knscope.tui.printing import output

    with open_existing(store) as reader:
        reader.poll()
        if reader.damaged:
            output.say(f"{store}: {reader.unreadable().removeprefix('; ')}")
        if reader.passed_over:
            output.say(f"{store}: {reader.passed_over}")
        yield reader

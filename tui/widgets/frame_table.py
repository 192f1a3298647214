"""A table over a polars frame. It draws only the rows that are seen, so its cost does not depend on their number."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, ClassVar

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import BindingType
from textual.geometry import Region, Size
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip

from knscope.tui import keymap
from knscope.tui.messages import RowEntered, RowMoved
from knscope.tui.widgets.cells import Column
from knscope.tui.widgets.fitting import GAP, align, fit, holding

if TYPE_CHECKING:
    import polars as pl

GUTTER = 1
MEASURED = 100
"""Rows looked at to find how wide a column is."""


class FrameTable(ScrollView, can_focus=True):
    """Rows of a frame with a cursor. Posts RowMoved and RowEntered."""

    BINDINGS: ClassVar[list[BindingType]] = list(keymap.bindings("table"))
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "table--title", "table--at", "table--cursor", "table--blurred", "table--mark", "table--good", "table--bad", "table--dim",
        "table--gap",
    }  # fmt: skip

    cursor: reactive[int] = reactive(0, repaint=False)
    at_column: reactive[int] = reactive(0, repaint=False)
    """The marked column, of those shown: s sorts by it."""

    def __init__(self, name: str, *, empty: str = "", id: str | None = None) -> None:  # noqa: A002
        super().__init__(name=name, id=id)
        self._frame: pl.DataFrame | None = None
        self.columns: tuple[Column, ...] = ()
        self.empty = empty
        self._given: pl.DataFrame | None = None
        """What was shown last, in its own order."""
        self.sorted_by: tuple[str, bool] | None = None
        """Column and whether it descends: shown in its title."""
        self.filter_text = ""
        """Words that the rows shown hold."""
        self._marked: Callable[[Mapping[str, Any]], bool] | None = None
        self._key: tuple[str, ...] = ()
        self._wanted_columns: tuple[Column, ...] = ()
        self._shown: tuple[tuple[Column, int], ...] = ()
        self._natural: dict[str, int] = {}
        self._strips: dict[tuple[int, int], Strip] = {}

    # --- what is shown

    @property
    def frame(self) -> pl.DataFrame:
        """What is shown; polars is imported when there is something, not before the first paint."""
        if self._frame is None:
            import polars as pl

            self._frame = pl.DataFrame()
        return self._frame

    @property
    def row_count(self) -> int:
        """Rows there are."""
        return 0 if self._frame is None else self._frame.height

    def show(
        self,
        frame: pl.DataFrame,
        columns: Sequence[Column],
        key: Sequence[str] = (),
        at: Mapping[str, Any] | None = None,
        near: Sequence[str] = (),
    ) -> None:
        """Show another frame. The cursor stays on the row with the same values in `key` (or goes to that with the values of
        `at`); where there is none, on the first row that agrees in as many as can be of the columns `near`, the widest first;
        where none agrees, it keeps its row number. Whenever it ends on another row, RowMoved says so."""
        before, old, looked = self.current, self._frame, (self.columns, self._shown)
        other_columns = self._take(frame, columns, key)
        if other_columns and before is None:
            self.scroll_to(0, 0, animate=False, immediate=True)
        place = self._find(before if at is None else at, near)
        if (
            place == self.cursor
            and looked == (self.columns, self._shown)
            and old is not None
            and old.height
            and self.row_count
        ):
            self._refresh_changed(old)
            if self._key and not self._same(before, self.current):
                self._tell()
            return
        self.set_reactive(FrameTable.cursor, place)
        self.refresh()
        self._into_view()
        self._tell()

    def _take(self, frame: pl.DataFrame, columns: Sequence[Column], key: Sequence[str]) -> bool:
        """Sort, measure and lay out a frame; whether its columns are other ones than before."""
        self._given, self._wanted_columns = frame, tuple(columns)
        if self.filter_text:
            frame = holding(
                frame,
                [name for name in (*(column.name for column in columns), "langs") if name in frame.columns],
                self.filter_text,
                {column.title.lower(): column.name for column in columns},
            )
        if self.sorted_by is not None and self.sorted_by[0] in frame.columns:
            frame = frame.sort(self.sorted_by[0], descending=self.sorted_by[1], nulls_last=True, maintain_order=True)
        before, self.columns = self.columns, tuple(column for column in columns if column.name in frame.columns)
        self._frame, self._key = frame, tuple(name for name in key if name in frame.columns)
        self._measure()
        self._lay_out()
        return before != self.columns

    def _refresh_changed(self, old: pl.DataFrame) -> None:
        """Draw again only those cells on the screen whose values changed, and whole lines where another row stands now."""
        names, width = dict.fromkeys([*self._key, *(column.name for column, _ in self._shown)]), self.size.width
        top, visible = self.scroll_offset.y, max(0, self.size.height - 1)
        before, now = (each.slice(top, visible).select(*names).to_dicts() for each in (old, self.frame))
        for line, (one, other) in enumerate(zip_longest(before, now), 1):
            if other is None or not self._same(one, other):
                self.refresh(Region(0, line, width, 1))
                continue
            left = GUTTER - self.scroll_offset.x
            for column, wide in self._shown:
                if one[column.name] != other[column.name]:
                    self.refresh(Region(left, line, wide, 1).intersection(Region(0, line, width, 1)))
                left += wide + GAP

    def mark(self, marked: Callable[[Mapping[str, Any]], bool] | None) -> None:
        """Rows with a bar at their left: those that the other panes speak of."""
        self._marked = marked
        self._strips.clear()
        self.refresh()

    @property
    def current(self) -> dict[str, Any] | None:
        """The row under the cursor."""
        return self.frame.row(self.cursor, named=True) if 0 <= self.cursor < self.row_count else None

    def _same(self, one: Mapping[str, Any] | None, other: Mapping[str, Any] | None) -> bool:
        """Whether two rows have the same key."""
        return one is not None and other is not None and all(one.get(name) == other[name] for name in self._key)

    def _find(self, before: Mapping[str, Any] | None, near: Sequence[str] = ()) -> int:
        import polars as pl

        height = self.row_count
        if before is not None and height:
            wider = (near[:many] for many in range(len(near), 0, -1))
            for names in filter(None, (self._key, *wider)):
                if not all(name in before and name in self.frame.columns for name in names):
                    continue
                same = pl.all_horizontal(pl.col(name).eq_missing(pl.lit(before[name])) for name in names)
                found = self.frame.select(same.arg_true()).to_series()
                if found.len():
                    return int(found[0])
        return max(0, min(self.cursor, height - 1))

    def _tell(self) -> None:
        """Say which row the cursor is on. Sent by the table itself: Textual lets no message go further than to its sender, which would
        be the pane that shows a new frame."""
        self.post_message(RowMoved(self.name or "", self.current).set_sender(self))

    def go_to(self, row: Mapping[str, Any], near: Sequence[str] = ()) -> None:
        """Move the cursor to a row, or as near to it as `show` would, and say where it is."""
        place = self._find(row, near)
        if place == self.cursor:
            self._tell()
        self.cursor = place
        self._into_view()

    def _measure(self) -> None:
        import polars as pl

        sample = self.frame.head(MEASURED)
        if self.row_count > 2 * MEASURED:
            sample = pl.concat([sample, self.frame.tail(MEASURED)])
        self._natural = {
            column.name: max((cell_len(column.text(value)) for value in sample[column.name].to_list()), default=0)
            for column in self.columns
        }

    def _lay_out(self, *, again: bool = True) -> None:
        room = self.scrollable_content_region
        width = max(1, room.width - GUTTER - (1 if self.row_count >= room.height else 0))  # a gap before the scrollbar
        self._shown = fit(self.columns, self._natural, width)
        total = GUTTER + sum(wide + GAP for _, wide in self._shown) - GAP
        self._extend(Size(max(total, 1), self.row_count + 1))
        self._strips.clear()
        if again and self.scrollable_content_region.width != room.width:
            self._lay_out(again=False)  # a scrollbar came or went and left other room

    def _extend(self, size: Size) -> None:
        """Another virtual size. Only a scrollbar that comes or goes lays the screen out anew: rows that come must not."""
        was = self.show_vertical_scrollbar, self.show_horizontal_scrollbar
        if size != self.virtual_size and self.is_attached:
            self.set_reactive(FrameTable.virtual_size, size)
            self._scroll_update(size)
            if was != (self.show_vertical_scrollbar, self.show_horizontal_scrollbar):
                self.refresh(layout=True)

    def on_resize(self, _: events.Resize) -> None:
        self._lay_out()
        self.refresh()
        self._into_view()

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._strips.clear()

    # --- drawing

    def render_line(self, y: int) -> Strip:
        scroll_x, scroll_y = self.scroll_offset
        width = self.size.width
        base = self.rich_style
        if y == 0:
            strip = self._title_strip(base)
        elif (row := scroll_y + y - 1) < self.row_count:
            kind = 0 if row != self.cursor else 2 if self.has_focus else 1
            strip = self._strips.get((row, kind)) or self._row_strip(row, kind, base)
            self._strips[row, kind] = strip
        else:
            nothing = self._given is not None and not self.row_count  # before the first result nothing is known
            empty = "no row holds these words; esc clears the filter" if self.filter_text else self.empty
            text = empty if nothing and y == 2 else ""
            strip = Strip([Segment(set_cell_size(f"  {text}", width), self._style("table--dim"))])
            return strip.apply_style(base)
        return strip.extend_cell_length(scroll_x + width, base).crop(scroll_x, scroll_x + width)

    def _style(self, component: str) -> Style:
        return self.get_component_rich_style(component, partial=True)

    def _title_strip(self, base: Style) -> Strip:
        style = base + self._style("table--title")
        segments = [Segment(" " * GUTTER, style)]
        for place, (column, wide) in enumerate(self._shown):
            text = column.title
            if self.sorted_by and self.sorted_by[0] == column.name:
                arrow = "▼" if self.sorted_by[1] else "▲"
                text = (text + arrow) if cell_len(text) < wide else text[: wide - 1] + arrow
            text = align(text, wide, column.right)
            marked = self.has_focus and place == min(self.at_column, len(self._shown) - 1)
            segments += [
                Segment(text, style + self._style("table--at") if marked else style),
                Segment(" " * GAP, style),
            ]
        return Strip(segments).extend_cell_length(self.size.width, style).simplify()

    def _row_strip(self, row: int, kind: int, base: Style) -> Strip:
        values = self.frame.row(row, named=True)
        over = self._style(("", "table--blurred", "table--cursor")[kind]) if kind else Style.null()
        marked = self._marked is not None and self._marked(values)
        gutter = "▌" if kind == 2 else "›" if kind else "▎" if marked else " "
        segments = [Segment(gutter, base + self._style("table--mark") + over)]
        for column, wide in self._shown:
            value = values[column.name]
            tone = column.tone(value) if column.tone else ""
            style = base + (self._style(f"table--{tone}") if tone else Style.null()) + over
            segments.append(Segment(align(column.text(value), wide, column.right) + " " * GAP, style))
        return Strip(segments).extend_cell_length(self.size.width, base + over).simplify()

    # --- moving

    def watch_cursor(self, old: int, new: int) -> None:
        for row in (old, new):
            self.refresh(Region(0, row - self.scroll_offset.y + 1, self.size.width, 1))
        self._into_view()
        self._tell()

    def validate_cursor(self, value: int) -> int:
        return max(0, min(value, self.row_count - 1))

    def watch_has_focus(self, has_focus: bool) -> None:
        super().watch_has_focus(has_focus)
        self.refresh()

    def _into_view(self) -> None:
        visible = max(1, self.scrollable_content_region.height - 1)
        top = self.scroll_offset.y
        if self.cursor < top:
            self.scroll_to(y=self.cursor, animate=False, immediate=True)
        elif self.cursor >= top + visible:
            self.scroll_to(y=self.cursor - visible + 1, animate=False, immediate=True)

    def action_cursor(self, step: int) -> None:
        self.cursor += step
        self._into_view()  # the wheel may have led away from a cursor that does not move

    def action_page(self, step: int) -> None:
        self.cursor += step * max(1, self.scrollable_content_region.height - 2)
        self._into_view()

    def action_edge(self, step: int) -> None:
        self.cursor = 0 if step < 0 else self.row_count - 1
        self._into_view()

    def action_across(self, step: int) -> None:
        """Mark another column, and bring it into sight."""
        self.at_column = max(0, min(self.at_column + step, len(self._shown) - 1))

    def watch_at_column(self) -> None:
        self.refresh(Region(0, 0, self.size.width, 1))
        left = GUTTER + sum(wide + GAP for _, wide in self._shown[: self.at_column])
        room, wide = self.scrollable_content_region.width, self._shown[self.at_column][1] if self._shown else 0
        if left - GUTTER < self.scroll_offset.x:
            self.scroll_to(x=left - GUTTER, animate=False, immediate=True)
        elif left + wide > self.scroll_offset.x + room:
            self.scroll_to(x=left + wide - room, animate=False, immediate=True)

    def action_sort(self, step: int) -> None:
        """Sort by the marked column, then turned round, then as given; `step` 0: turn the order round."""
        if step == 0 and self.sorted_by is not None:
            self.sort_by(self.sorted_by[0], not self.sorted_by[1])
        elif self._shown:
            self.pick_title(self._shown[min(self.at_column, len(self._shown) - 1)][0].name)

    def set_filter(self, text: str) -> None:
        """Show only rows that hold these words."""
        if text != self.filter_text:
            self.filter_text = text
            if self._given is not None:
                self.show(self._given, self._wanted_columns, self._key)
                self.refresh()

    def _falls(self, column: str) -> bool:
        """Numbers are looked at from the largest down."""
        return self.frame.schema[column].is_numeric()

    def pick_title(self, column: str) -> None:
        """A click on a title: sort by it, turn it round, back to the given order."""
        first = self._falls(column)
        if self.sorted_by == (column, first):
            self.sort_by(column, not first)
        elif self.sorted_by == (column, not first):
            self.sort_by(None)
        else:
            self.sort_by(column, first)

    def sort_by(self, column: str | None, falling: bool = False) -> None:
        """Sort by a column, or (None) as given."""
        self.sorted_by = None if column is None else (column, falling)
        if self._given is not None:
            self.show(self._given, self._wanted_columns, self._key)
            self.refresh()

    def enter(self) -> None:
        """What Enter does."""
        if (row := self.current) is not None:
            self.post_message(RowEntered(self.name or "", row))

    def on_click(self, event: events.Click) -> None:
        if event.y == 0:
            left = GUTTER - self.scroll_offset.x
            for place, (column, wide) in enumerate(self._shown):
                if left <= event.x < left + wide + GAP:
                    self.at_column = place
                    self.pick_title(column.name)
                left += wide + GAP
            return
        row = self.scroll_offset.y + event.y - 1
        if row < self.row_count:
            self.cursor = row
            if event.chain == 2:
                self.enter()

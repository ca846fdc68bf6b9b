"""The two pages that stand in front of the table: one question, and the list of keys."""

from __future__ import annotations

from typing import ClassVar

from rich.cells import cell_len
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Button

from comfy_doctor.tui.bars import Line
from comfy_doctor.tui.offers import ALL
from comfy_doctor.tui.tones import Part, Tone


class Ask(ModalScreen[bool]):
    """One question; `y` says yes, `n` and Escape say no, and so does Enter unless the other button was chosen."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", show=False),
        Binding("n,escape,q", "answer(False)", show=False),
        Binding("left,right", "app.focus_next", show=False),
    ]
    AUTO_FOCUS = "#no"

    def __init__(self, question: str, subject: str, consequence: str) -> None:
        """All three are shown as they are: the caller has made foreign text safe."""
        super().__init__()
        self._parts = (
            Part(f"{question}\n\n", Tone.HEADING),
            Part(f"{subject}\n\n", Tone.STRONG),
            Part(consequence, Tone.QUIET),
        )

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Line(id="question")
            with Horizontal(classes="answers"):
                yield Button("y  Yes", id="yes", compact=True)
                yield Button("n  No", id="no", compact=True)

    def on_mount(self) -> None:
        self.query_one("#question", Line).say(part for part in self._parts if part.text.strip())

    @on(Button.Pressed)
    def _clicked(self, event: Button.Pressed) -> None:
        self.dismiss(event.button.id == "yes")

    def action_answer(self, yes: bool) -> None:
        self.dismiss(yes)


class Help(ModalScreen[None]):
    """Every key in a line."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q,question_mark,enter", "dismiss", show=False)]

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Line(id="keys")

    def on_mount(self) -> None:
        parts = [Part("Keys\n", Tone.HEADING)]
        for key in ALL:
            sign = key.sign + " " * (5 - cell_len(key.sign))
            parts += [Part(f"\n{sign}", Tone.STRONG), Part(key.explained, Tone.QUIET)]
        self.query_one("#keys", Line).say(parts)

    def on_click(self) -> None:
        self.dismiss()

"""The colours: a dark, quiet room in which only what moves, what waits and what failed stands out."""

from __future__ import annotations

from textual.theme import Theme

PALETTE = Theme(
    name="consulting-room",
    primary="#7fb2dd",
    secondary="#b9a3dc",
    accent="#7fb2dd",
    success="#84b98f",
    warning="#dcb16a",
    error="#e08a80",
    foreground="#d4d9e0",
    background="#12161c",
    surface="#12161c",
    panel="#1d242e",
    dark=True,
    variables={
        "text-muted": "#98a2b0",
        "text-disabled": "#4e5866",
        "block-cursor-foreground": "#ffffff",
        "input-selection-background": "#3a5a7a",
        "scrollbar": "#2b3440",
        "scrollbar-hover": "#3a4656",
        "scrollbar-active": "#4e5d72",
        "scrollbar-background": "#12161c",
        "scrollbar-background-hover": "#12161c",
        "scrollbar-background-active": "#12161c",
        "scrollbar-corner-color": "#12161c",
    },
)

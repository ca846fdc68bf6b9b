"""Torture: workers are killed, stopped and confused while they work; afterwards every promise is checked."""

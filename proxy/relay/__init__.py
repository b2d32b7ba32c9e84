"""The heart: producers write journals, cursors read them. Knows only ports, never a library."""

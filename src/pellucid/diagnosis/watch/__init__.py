"""Watching a training loop that somebody else wrote, from one line before it, at almost no cost and without changing anything."""

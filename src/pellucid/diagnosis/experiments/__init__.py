"""A training described as data: its parts, its loop, its scores, and what a change does to it."""

"""One file per command; each has a `command`. Nothing heavy is imported before a command runs."""

"""What a training tells while it runs: its curves, what a watcher saw, and the noise in both."""

"""The report of a run: one HTML file drawn from the run's records alone. It never touches a model."""

from pellucid.report.page import write

__all__ = ["write"]

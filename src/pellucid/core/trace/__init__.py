"""A forward pass and its loss as a list of tensor operations, in the order in which they ran. See `tracing`."""

from pellucid.core.trace.records import Operation, Reference, Source, Value
from pellucid.core.trace.tracing import Trace, trace

__all__ = ["Operation", "Reference", "Source", "Trace", "Value", "trace"]

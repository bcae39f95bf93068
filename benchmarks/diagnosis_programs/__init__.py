"""Training programs whose diagnosis is known: base programs, faults put into them, healthy programs, and real cases restated by hand."""

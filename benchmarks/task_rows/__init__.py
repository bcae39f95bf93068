"""The rows of `tasks.py`: a module for each kind of task, each with its ROWS. What a row is stands in `row.py`."""

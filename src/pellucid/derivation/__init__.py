"""derive: every equation of a network, with its numbers, each one checked. The verb is in derive.py; the rules are in rules/."""

"""Tests of an explanation against the network it explains: one published score a file, put together by `explanation.certificate`.

Most of them read one table (see removals): the network's outputs where random sets of features are absent. It is made once.
"""

"""Comparisons of many runs: repetition over seeds and splits, and the tables of the paper.

repetition   which runs one configuration stands for
running      runs as processes of their own, one after the other or side by side
statistics   means, spreads and differences
rows         the rows of the paper's tables and figures, and what the paper prints for them
tables       what a table's rows come to
reporting    a table in JSON and Markdown; plotting: as a picture
"""

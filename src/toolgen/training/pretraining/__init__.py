"""In: many catalogs with requests, and a base language model.
Out: a base that has learned to learn tools: rows of a catalog that it has never seen come from documentation alone.

`corpus` holds the catalogs, `episodes` draws from them, `row_maker` turns documentation into rows, `low_rank` is what training
changes, `teacher` softens the targets, `loop` trains.
"""

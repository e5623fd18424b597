"""Between source and formats: rows as COPY BINARY sends them, cut into blocks and decoded into columns.

`blocks` cuts, `kinds` says which types have a decoder, `decoder` makes columns of numpy arrays out of a block's bytes,
`text` renders those columns as PostgreSQL would, `arrow` hands the arrays to polars without a copy.
"""

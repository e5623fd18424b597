"""PostgreSQL in: one connection, one read-only snapshot, one COPY.

`connect` opens it, `sql` composes every statement, `catalog` looks up what is to be read, `copying` reads it,
`errors` says which errors may pass and what may be told of them.
"""

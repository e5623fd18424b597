"""Rows out, as encoded parts. `sink` is what a run speaks to; `bucket` is the one for S3.

Below it, `client` makes the connection, `errors` names what can go wrong, `parts` cuts, `upload` sends, `delivery`
commits: the object becomes visible whole, then the manifest says so.
"""

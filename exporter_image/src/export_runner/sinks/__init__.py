"""S3 out. `client` makes the connection, `errors` names what can go wrong, `parts` cuts, `upload` sends, `delivery`
commits: the object becomes visible whole, then the manifest says so.
"""

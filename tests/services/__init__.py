"""PostgreSQL and an S3 server for the demo and the tests: as pods (`cluster`), or as processes here (`host`)."""

"""Commands for people, beside the operator's process: one module each, and how they print."""

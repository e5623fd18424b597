"""Formats: columns of a block in, bytes of the object out.

A format is one class with the shape of `base.Format`, found by its name in the entry point group
`export_runner.formats`. `compression` wraps the bytes of those that do not compress inside.
"""

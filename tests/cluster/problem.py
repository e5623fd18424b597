"""The one exception whose text is meant for the person at the keyboard."""


class Problem(Exception):  # noqa: N818 - what the user has is a problem; the error may be anybody's
    """Something that the user can do something about; printed without a traceback."""

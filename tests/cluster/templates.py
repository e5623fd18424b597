"""The smallest template language that does: @KEY@ in a file, and nothing else."""

import re
from collections.abc import Mapping

PLACEHOLDER = re.compile(r"@([A-Z][A-Z0-9_]*)@")


def render(text: str, values: Mapping[str, str]) -> str:
    """`text` with each @KEY@ replaced. A key without a value is an error: it would surface much later, as nonsense."""

    def value(found: re.Match[str]) -> str:
        key = found[1]
        if key not in values:
            raise KeyError(f"the template asks for @{key}@, and nothing gives it")
        return values[key]

    return PLACEHOLDER.sub(value, text)

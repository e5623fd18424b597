"""An operator that believes that it leads, whatever the Lease says: what holds then, the ledger alone has kept."""

from __future__ import annotations

import asyncio
import math
import sys

from export_operator import __main__ as program
from export_operator.adapters.elector import Elector


class Usurper(Elector):
    async def win(self) -> None:
        self._until = math.inf

    async def hold(self) -> None:
        await asyncio.Event().wait()

    async def give_back(self) -> None:
        """It has nothing to give back."""


if __name__ == "__main__":
    vars(program)["Elector"] = Usurper
    sys.exit(program.main())

"""Where the compiled library is. `export_runner.frames.native` says what is in it."""

from pathlib import Path
from typing import Final

LIBRARY: Final = Path(__file__).with_name("libexport_native.so")

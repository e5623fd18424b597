"""Compiles the library into the package while the wheel is built, and marks the wheel as one for this platform."""

import platform
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

# The oldest processors and C library that Python's own wheels for Linux care for; nothing of the building machine's.
TARGETS = {
    "x86_64": ["-target", "x86_64-linux-gnu.2.17", "-mcpu=x86_64_v2"],
    "aarch64": ["-target", "aarch64-linux-gnu.2.17", "-mcpu=baseline"],
}


class CustomBuildHook(BuildHookInterface):  # type: ignore[type-arg,misc]
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        del version
        root = Path(self.root)
        out = root / "src" / "export_native" / "libexport_native.so"
        machine = platform.machine()
        target = TARGETS.get(machine, []) if sys.platform == "linux" else []
        subprocess.run(
            [
                *(sys.executable, "-m", "ziglang", "build-lib", str(root / "zig" / "library.zig")),
                *("-dynamic", "-OReleaseSafe", "-fstrip", "-lc", "--name", "export_native"),
                *(*target, f"-femit-bin={out}", "--cache-dir", str(Path(self.directory) / "zig-cache")),
            ],
            check=True,
        )
        tag = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{tag}"

"""What computes: the card, its driver and its clocks, or the processor."""

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

QUERY = ("name", "driver_version", "memory.total", "clocks.sm", "clocks.max.sm", "clocks.mem", "power.draw")


def facts() -> dict[str, str]:
    """The machine: card, driver and clocks, or the processor; and what computes."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    processor = next((line.split(":")[1].strip() for line in lines if "model name" in line), "unknown")
    found = {"card": query(*QUERY) or "none", "processor": f"{processor}, {os.cpu_count()} cores"}
    return found | {"torch": metadata.version("torch"), "python": sys.version.split()[0]}


def query(*fields: str) -> str:
    """What the driver says of the first card; nothing if there is none."""
    command = ["nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout.splitlines()[0]
    except (OSError, subprocess.SubprocessError, IndexError):
        return ""

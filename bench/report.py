"""The benchmarks' report: printed, and written as a Markdown page."""

import os
import platform
import re
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Target:
    text: str
    measured: float
    bound: float
    at_least: bool = False
    unit: str = ""

    @property
    def met(self):
        return self.measured >= self.bound if self.at_least else self.measured <= self.bound

    def row(self):
        return (self.text, f"{self.measured:.3g}{self.unit}",
                f"{'≥' if self.at_least else '≤'} {self.bound:.3g}{self.unit}",
                "pass" if self.met else "**FAIL**")


class Report:
    """Prints lines and keeps them for the page."""

    def __init__(self):
        self.lines = []

    def text(self, *lines):
        for line in lines:
            print(line, flush=True)
            self.lines.append(line)

    def heading(self, text):
        self.text("", f"## {text}", "")

    def table(self, header, rows):
        """Adds a table: first column left-aligned, the others, mostly figures, right-aligned."""
        rows = [tuple(map(str, row)) for row in (header, *rows)]
        widths = [max(map(len, column)) for column in zip(*rows)]
        lines = ["| " + " | ".join(f"{cell:{'<' if i == 0 else '>'}{width}}"
                                   for i, (cell, width) in enumerate(zip(row, widths))) + " |"
                 for row in rows]
        rule = "|" + "|".join("-" * (width + 2) if i == 0 else "-" * (width + 1) + ":"
                              for i, width in enumerate(widths)) + "|"
        self.text(lines[0], rule, *lines[1:])

    def write(self, path):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text("\n".join(self.lines) + "\n")


def megabytes(count):
    return f"{count / 1e6:.1f}"


def machine():
    processor = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())
    memory = re.search(r"MemTotal:\s*(\d+)", Path("/proc/meminfo").read_text())
    return (f"{processor[1] if processor else platform.machine()}, {os.cpu_count()} cores, "
            f"{int(memory[1]) / 1e6:.0f} GB, Linux {re.match('[0-9.]*', platform.release())[0]}")


def busy(seconds=1):
    """Percentage of the machine's processor time that is used during `seconds`."""
    def times():
        fields = [int(field) for field in Path("/proc/stat").read_text().split()[1:9]]
        return sum(fields), fields[3] + fields[4]
    total, idle = times()
    time.sleep(seconds)
    total_after, idle_after = times()
    return 100 * (1 - (idle_after - idle) / max(1, total_after - total))


def version(*command):
    out = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                         text=True, timeout=10).stdout
    found = re.search(r"\d+\.\d[\d.]*", out)
    return found[0] if found else "?"

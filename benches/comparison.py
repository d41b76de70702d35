"""What comparisons of brokers share: what a process tree costs, rounds, and tables of medians."""

import contextlib
import os
import platform
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
import types
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path += [str(REPOSITORY / "tests" / "python"), str(REPOSITORY / "tests" / "python" / "kafka")]
try:
    import pika  # noqa: F401
except ImportError:
    # The brokers start without it; only their clients in the tests need it.
    sys.modules["pika"] = types.ModuleType("pika")

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
CPU_CLOCK_OF_PROCESS = 2
SAMPLE_SECONDS = 0.2


def add_options(parser):
    parser.add_argument("--rounds", type=int, default=3, help="times every broker has its turn")
    parser.add_argument("--broker", dest="brokers", action="append", metavar="WORD", help="only brokers named like this")
    parser.add_argument("--data", metavar="DIR", help="where the brokers keep their data; a disk, to measure flushing")
    parser.add_argument("--json", action="store_true", help="print all figures of all rounds")


def rounds(kinds, measure, options):
    """Each broker once, and again: all figures by broker and name. `measure` gets the name, a maker and a home."""
    results = {}
    with tempfile.TemporaryDirectory(prefix="cauce-compare-", dir=options.data) as home:
        for turn in range(options.rounds):
            for name, make in kinds.items():
                if not options.brokers or any(word.lower() in name.lower() for word in options.brokers):
                    print(f"round {turn + 1} of {options.rounds}: {name}", file=sys.stderr)
                    figures = measure(make, Path(home) / f"{turn}-{name.replace(' ', '')}", options)
                    for key, value in figures.items():
                        results.setdefault(name, {}).setdefault(key, []).append(value)
    return results


def medians(results):
    return {name: {key: statistics.median(of) for key, of in found.items()} for name, found in results.items()}


class Watched:
    """Runs a client and tells what the broker's process tree spent meanwhile."""

    def __init__(self, root):
        self.root = root
        self.peak_megabytes = 0

    def run(self, command, **more):
        before = cpu_seconds(self.root)
        client = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **more)
        while client.poll() is None:
            self.peak_megabytes = max(self.peak_megabytes, rss_megabytes(self.root))
            time.sleep(SAMPLE_SECONDS)
        self.cpu_seconds = cpu_seconds(self.root) - before
        return client.returncode, client.stdout.read()


def wait_until_idle(pid):
    """Until a whole second costs less than a tenth of one, half a minute at most."""
    for _ in range(30):
        before = cpu_seconds(pid)
        time.sleep(1)
        if cpu_seconds(pid) - before < 0.1:
            return


def process_tree(root):
    """The process and all that come from it; a broker may be a child of its script."""
    parents = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                parents[int(entry)] = int(stat(entry)[1])
    tree, found = [], [root]
    while found:
        pid = found.pop()
        tree.append(pid)
        found += [child for child, parent in parents.items() if parent == pid]
    return tree


def stat(pid):
    """Fields of /proc/<pid>/stat from the third on: what precedes is a name that may hold anything."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def cpu_seconds(root):
    """What the processes of the tree have run for, to the nanosecond, and in hundredths their children that have ended."""
    seconds = 0
    for pid in process_tree(root):
        with contextlib.suppress(OSError):
            # clock_getcpuclockid(3), for which Python has no name.
            seconds += time.clock_gettime((~pid << 3) | CPU_CLOCK_OF_PROCESS)
            # cutime and cstime: a broker may start programs that are gone when the load is over.
            seconds += sum(int(field) for field in stat(pid)[13:15]) / TICKS_PER_SECOND
    return seconds


def rss_megabytes(root):
    pages = 0
    for pid in process_tree(root):
        with contextlib.suppress(OSError):
            pages += int(stat(pid)[21])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def print_heading(options, what):
    print(f"{machine(options.data)}\n\n    {shlex.join(sys.argv)}\n")
    print(f"Medians of {options.rounds} rounds of {what}.\n")


def print_table(middle, rows):
    """Rows are a title, a figure's name, its format and perhaps its unit; what was not measured is a dash."""
    print("| | " + " | ".join(middle) + " |")
    print("|---" * (len(middle) + 1) + "|")
    for title, key, form, *unit in rows:
        cells = [f"{found[key]:{form}}{''.join(unit)}" if key in found else "-" for found in middle.values()]
        print(f"| {title} | " + " | ".join(cells) + " |")


def machine(data):
    cpu = next((line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line), "?")
    # A flush costs nothing on a tmpfs, so where the data was belongs to the figures.
    place = data or tempfile.gettempdir()
    filesystem = subprocess.run(["stat", "-f", "-c", "%T", place], capture_output=True, text=True).stdout.strip()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    system = f"Linux {platform.release()}, data on {filesystem}"
    return f"{os.cpu_count()} x {cpu}, {memory:.0f} GiB, {system}, {time.strftime('%Y-%m-%d')}"

"""`make test`: every tier, with the counts of each.

Three lanes run side by side, for most tests wait for something: the operator's with an API server of its own, the
runtime's with servers of its own, and the real cluster's, where what takes the cluster down comes last.

A tier that fails does not stop the others: one run tells everything. A skipped test counts as a failure: what cannot
run is said in the README, not passed over. A few failures where real processes are waited for, with three lanes on two
cores, are run once more alone: one that passes then is no failure, but is named as unsteady in the last lines, to be
mended. Standard library only.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
OUT = ROOT / "out/tests"


@dataclass(frozen=True)
class Tier:
    name: str
    environment: str
    """The Python environment that it runs in: operator or runtime."""
    paths: tuple[str, ...]
    what: str
    lane: str
    """Tiers of a lane run one after the other, in this order."""
    waits: bool = False
    """For real processes: a busy machine can make it fail."""
    local_only: bool = False
    """Needs the cluster of hack/cluster: not run against a cluster that SLIPWAY_KUBECONFIG names."""


UNIT = "pure parts of the operator, the local cluster's and the images' own"
TIERS = (
    Tier("unit", "operator", ("tests/unit", "tests/cluster/unit"), UNIT, "operator"),
    Tier("golden", "operator", ("tests/golden",), "manifests, byte by byte", "operator"),
    Tier("contract", "operator", ("tests/contract",), "operator, runtime, chart and README agree", "operator"),
    Tier("apiserver", "operator", ("tests/apiserver",), "a real kube-apiserver; no kubelet", "operator", waits=True),
    Tier("runtime", "runtime", ("tests/runtime",), "a real server process and real clients", "runtime", waits=True),
    Tier("e2e", "runtime", ("tests/e2e",), "the whole in a real cluster, installed by Helm", "cluster", waits=True),
    Tier(
        "cluster",
        "operator",
        ("tests/cluster", "--ignore=tests/cluster/unit"),
        "the local cluster itself, killed and started again",
        "cluster",
        waits=True,
        local_only=True,
    ),
)


MOST_RUN_AGAIN = 5
"""More failures than this are no accident."""


@dataclass(frozen=True)
class Counts:
    passed: int
    failed: int
    skipped: int
    seconds: float
    names: tuple[str, ...] = ()
    """Of what failed, each with its first line: the last thing that a log shows is what one wants to know."""
    unsteady: tuple[str, ...] = ()
    """Failed at first, passed alone."""

    @property
    def good(self) -> bool:
        return self.passed > 0 and not self.failed and not self.skipped


def main() -> int:
    parser = argparse.ArgumentParser(prog="hack/tests", description="Runs the tiers of tests.")
    parser.add_argument("tiers", nargs="*", metavar="TIER", help=f"all by default: {', '.join(t.name for t in TIERS)}")
    names = parser.parse_args().tiers
    unknown = set(names) - {tier.name for tier in TIERS}
    if unknown:
        parser.error(f"no such tier: {', '.join(sorted(unknown))}; there are {', '.join(t.name for t in TIERS)}")
    foreign = "SLIPWAY_KUBECONFIG" in os.environ
    chosen = [tier for tier in TIERS if not names or tier.name in names]
    for tier in [tier for tier in chosen if tier.local_only and foreign]:
        print(f"{tier.name}: not run, it is about the local cluster and SLIPWAY_KUBECONFIG names another", flush=True)
        chosen.remove(tier)
    ours = not foreign and not cluster("status")
    started = time.monotonic()
    results: dict[str, Counts] = {}
    with ThreadPoolExecutor() as lanes:
        running = [lanes.submit(run_lane, [t for t in chosen if t.lane == lane]) for lane in {t.lane for t in chosen}]
        for lane in running:
            results |= lane.result()
    for tier in [tier for tier in chosen if tier.waits and 0 < results[tier.name].failed <= MOST_RUN_AGAIN]:
        results[tier.name] = second(results[tier.name], run(tier, only_failed=True))
    if ours:
        cluster("down")
    return summary({tier.name: results[tier.name] for tier in chosen}, time.monotonic() - started)


def cluster(command: str) -> bool:
    """Asks hack/cluster; whether it said yes. A cluster that did not run before the tests does not run after them."""
    words = [sys.executable, "hack/cluster", command]
    return subprocess.run(words, cwd=ROOT, capture_output=True, check=False).returncode == 0


def run_lane(tiers: Sequence[Tier]) -> dict[str, Counts]:
    return {tier.name: run(tier) for tier in tiers}


def run(tier: Tier, *, only_failed: bool = False) -> Counts:
    """Shows pytest's lines as they come, with the tier's name before each."""
    print(f"[{tier.name}] {'once more, what failed' if only_failed else f'begins: {tier.what}'}", flush=True)
    OUT.mkdir(parents=True, exist_ok=True)
    report = OUT / f"{tier.name}{'-again' if only_failed else ''}.xml"
    report.unlink(missing_ok=True)
    python = ROOT / f".venv/{tier.environment}/bin/python"
    # What is marked `full` runs by `make faults-full`.
    command = [
        str(python),
        "-m",
        "pytest",
        "-q",
        "-m",
        "not full",
        "--durations=5",
        f"--junitxml={report}",
        *("-o", f"cache_dir={OUT / 'cache' / tier.name}"),  # of its own: the lanes' tiers remember what failed
        *(["--last-failed", "--last-failed-no-failures=none"] if only_failed else []),
        *tier.paths,
    ]
    started = time.monotonic()
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None  # noqa: S101 - asked for a line above
        for line in process.stdout:
            print(f"[{tier.name}] {line.rstrip()}", flush=True)
    return counted(report, process.returncode, time.monotonic() - started)


def counted(report: Path, code: int, seconds: float) -> Counts:
    """From pytest's own report. A run that ended badly without one is a failure, whatever it had counted."""
    if not report.exists():
        return Counts(0, 1, 0, seconds)
    root = ET.parse(report).getroot()  # noqa: S314 - written by pytest a moment ago
    total = bad = skipped = 0
    for suite in root.iter("testsuite"):
        total += int(suite.get("tests", 0))
        bad += int(suite.get("failures", 0)) + int(suite.get("errors", 0))
        skipped += int(suite.get("skipped", 0))
    failed = bad or (1 if code else 0)
    return Counts(total - bad - skipped, failed, skipped, seconds, tuple(_failures(root)))


def second(before: Counts, again: Counts) -> Counts:
    """A tier's counts once what failed has run again."""
    seconds = before.seconds + again.seconds
    still = {name.partition(": ")[0] for name in again.names}
    unsteady = tuple(name for name in before.names if name.partition(": ")[0] not in still)
    return Counts(
        before.passed + again.passed, again.failed, before.skipped + again.skipped, seconds, again.names, unsteady
    )


def _failures(root: ET.Element) -> Iterator[str]:
    for case in root.iter("testcase"):
        for why in (*case.iter("failure"), *case.iter("error")):
            first = (why.get("message") or "").strip().splitlines() or [""]
            yield f"{case.get('classname')}::{case.get('name')}: {first[0][:300]}"


def summary(results: dict[str, Counts], seconds: float) -> int:
    print("\ntier        passed  failed  skipped   seconds")
    for name, counts in results.items():
        print(f"{name:10} {counts.passed:7} {counts.failed:7} {counts.skipped:8} {counts.seconds:9.0f}")
    total = [sum(getattr(c, part) for c in results.values()) for part in ("passed", "failed", "skipped")]
    print(f"{'all':10} {total[0]:7} {total[1]:7} {total[2]:8} {seconds:9.0f}\n")
    for name, counts in results.items():
        for failure in counts.names:
            print(f"failed: [{name}] {failure}")
        for failure in counts.unsteady:
            print(f"unsteady, passed when run again: [{name}] {failure}")
    print(f"{total[0]} passed, {total[1]} failed, {total[2]} skipped")
    return 0 if results and all(counts.good for counts in results.values()) else 1


if __name__ == "__main__":
    sys.exit(main())

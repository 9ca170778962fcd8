"""What a soak came to, as RESULTS.md, and what of it is a fault."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

from bench.machine import machine
from bench.soak.fleet import Life, Member
from bench.soak.growth import Growth, growth
from bench.table import markdown

# What may be added in a run before it counts as growth: noise of an allocator, a connection that happens to be open.
MEMORY_SHARE = 0.02
HANDLES = 2.0
THREADS = 1.0


@dataclass(frozen=True)
class Run:
    """How it was run."""

    command: str
    code: str
    """Which code the servers ran."""
    began: str
    seconds: float
    load: tuple[float, float]
    """The machine's load average when it began and ended."""
    members: Sequence[Member]


def faults(run: Run) -> list[str]:
    """Why the soak has failed; empty where it has not."""
    found = []
    for member in run.members:
        found += [f"{member.kind.name}: {what}" for what in member.seen.unexpected]
        for what, line, bound, unit in _lines(member, run.seconds):
            if line is not None and line.exceeds(bound):
                grown = line.per_hour * line.hours
                found.append(f"{member.kind.name}: {what} grew by {grown:.2f} {unit} in {line.hours:.2f} h".rstrip())
    return found


def _lines(member: Member, seconds: float) -> Iterator[tuple[str, Growth | None, float, str]]:
    """Of the process that served throughout; those that replaced each other do not live long enough for a line."""
    if member.kind.replaced:
        return
    samples = member.life.samples
    times = [sample.at for sample in samples]
    mean = fmean(sample.megabytes for sample in samples)
    yield "memory", growth(times, [s.megabytes for s in samples], total=seconds), MEMORY_SHARE * mean, "MiB"
    yield "handles", growth(times, [float(s.handles) for s in samples], total=seconds), HANDLES, ""
    yield "threads", growth(times, [float(s.threads) for s in samples], total=seconds), THREADS, ""
    yield "lag", growth(times, [1000 * s.lag for s in samples], total=seconds), float("inf"), "ms"


def results(run: Run) -> str:
    """RESULTS.md."""
    broken = faults(run)
    requests = sum(sum(member.seen.counts.values()) for member in run.members)
    verdict = "Nothing grew, nothing unexpected was answered." if not broken else f"{len(broken)} faults, see below."
    lines = [
        "# Soak",
        "",
        f"Written by `{run.command}`, begun {run.began}, {run.seconds:.0f} s. {verdict}",
        "",
        f"{requests} requests of four kinds of servers, tiny models, real processes, one thread each: good ones, "
        "errors, poisoned inputs, hostile bodies, callers that hang up; bursts and pauses in turn; SIGTERM for one "
        "server, after another process has taken its place.",
        "",
        f"Code of the servers: {run.code}. Machine: {machine()}, shared with other work; load average "
        f"{run.load[0]:.1f} at the start, {run.load[1]:.1f} at the end.",
        "",
        "## Growth",
        "",
        "A line through the means of twelve stretches of the last three quarters of the run, its slope per hour and "
        "the slope's standard error. Growth is a fault where it is more than 2 % of the memory, 2 handles or 1 thread "
        "in the run, and more than three standard errors. The lag is how long a probe waited for the event loop, on a "
        "machine that others use too.",
        "",
        *_growth(run),
        "",
        "## Processes that were replaced",
        "",
        *_replaced(run),
        "",
        "## Answers",
        "",
        "0 is a caller who hung up.",
        "",
        *_answers(run),
    ]
    if broken:
        lines += ["", "## Faults", "", *(f"- {fault}" for fault in broken[:50])]
    return "\n".join(lines) + "\n"


def _growth(run: Run) -> list[str]:
    rows = []
    for member in run.members:
        for what, line, bound, unit in _lines(member, run.seconds):
            if line is None:
                rows.append([member.kind.name, what, "too short a run", "", "", ""])
                continue
            verdict = "not checked" if bound == float("inf") else "GREW" if line.exceeds(bound) else "no growth"
            most = 1000 * max(sample.lag for sample in member.life.samples)
            peak = f", most {most:.0f}" if what == "lag" else ""
            rows.append(
                [
                    member.kind.name,
                    f"{what} {unit}".rstrip(),
                    f"{line.first:.1f}",
                    f"{line.last:.1f}{peak}",
                    f"{line.per_hour:+.2f} ± {line.error:.2f}",
                    verdict,
                ]
            )
    return markdown(("server", "what", "first stretch", "last stretch", "per hour", ""), rows)


def _replaced(run: Run) -> list[str]:
    rows = []
    for member in run.members:
        if not member.kind.replaced:
            continue
        lives: list[Life] = [life for life in member.lives if life.samples]
        ends = [life.samples[-1] for life in lives]
        codes = sorted({str(life.exit_code) for life in member.lives})
        rows.append(
            [
                member.kind.name,
                str(len(member.lives)),
                ", ".join(codes),
                f"{min(end.megabytes for end in ends):.1f} to {max(end.megabytes for end in ends):.1f}",
                f"{min(end.handles for end in ends)} to {max(end.handles for end in ends)}",
                f"{min(end.threads for end in ends)} to {max(end.threads for end in ends)}",
            ]
        )
    return markdown(("server", "processes", "exit codes", "MiB at their ends", "handles", "threads"), rows)


def _answers(run: Run) -> list[str]:
    rows = []
    for member in run.members:
        names = dict.fromkeys(scene.name for scene in member.kind.scenes)
        for name in (*names, "burst"):
            found = {status: n for (what, status), n in sorted(member.seen.counts.items()) if what == name}
            if found:
                rows.append([member.kind.name, name, ", ".join(f"{status}: {n}" for status, n in found.items())])
    return markdown(("server", "callers", "status: how many"), rows)

"""`make soak`: an hour of mixed callers, good and bad, on several servers; does anything grow?

Written to RESULTS.md. Exit code 1 where something grew, or where a status came that was not expected. SECONDS=60 tries
it out; COMMIT=HEAD takes the servers' code from a commit instead of the working tree.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import os
import random
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from bench.soak import report
from bench.soak.fleet import KINDS, Member
from bench.soak.traffic import Scene

ROOT = Path(__file__).parents[2]
RESULTS = Path(__file__).parent / "RESULTS.md"
CYCLES = 10
IDLE = 0.2
"""The share of a cycle in which nobody asks."""
TOGETHER = 40
SAMPLES = 360
BURST = Scene("burst", KINDS[0].scenes[0].act, frozenset({200, 429}))


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.soak", description="Mixed callers on several servers for a long time.")
    parser.add_argument("--seconds", type=float, default=3600.0)
    parser.add_argument("--rate", type=float, default=8.0, help="requests per second, of all servers together")
    parser.add_argument("--commit", default="", help="whose runtime-image is run; the working tree's by default")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--results", type=Path, default=RESULTS)
    given = parser.parse_args()
    command = f"make soak SECONDS={given.seconds:g} RATE={given.rate:g}" + (given.commit and f" COMMIT={given.commit}")
    began, load = datetime.now(UTC), os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        code = _code(Path(folder) / "runtime-image", given.commit)
        members = asyncio.run(_soak(Path(folder), given.seconds, given.rate, given.seed))
    run = report.Run(command, code, f"{began:%Y-%m-%d %H:%M} UTC", given.seconds, (load, os.getloadavg()[0]), members)
    written = report.results(run)
    given.results.write_text(written)
    print(written)
    return 1 if report.faults(run) else 0


def _code(folder: Path, commit: str) -> str:
    """Copy what the servers run, so that edits during a long run do not matter; says what it is."""
    head = _git("rev-parse", "--short", commit or "HEAD").decode().strip()
    if commit:
        with tarfile.open(fileobj=io.BytesIO(_git("archive", commit, "runtime-image"))) as archive:
            archive.extractall(folder.parent, filter="data")
        return f"commit {head}"
    shutil.copytree(ROOT / "runtime-image", folder, ignore=shutil.ignore_patterns("__pycache__"))
    changed = _git("status", "--porcelain", "--", "runtime-image").decode().splitlines()
    return f"commit {head}" + (f" with uncommitted changes in {len(changed)} files" if changed else "")


def _git(*words: str) -> bytes:
    return subprocess.run(["git", *words], cwd=ROOT, check=True, capture_output=True).stdout


async def _soak(folder: Path, seconds: float, rate: float, seed: int) -> list[Member]:
    members: list[Member] = []
    try:
        members += [Member(kind, folder / kind.name, folder / "runtime-image") for kind in KINDS]
        await asyncio.gather(*(member.start() for member in members))
        since = time.monotonic()
        sampler = asyncio.create_task(_sample(members, since, seconds))
        replacer = asyncio.create_task(_replace(members, seconds))
        for cycle in range(CYCLES):
            rng = random.Random(f"{seed}-{cycle}")  # noqa: S311 - which requests come, not a secret
            await _cycle(members, seconds / CYCLES, rate, rng)
            print(f"cycle {cycle + 1} of {CYCLES}, {_requests(members)} requests", file=sys.stderr, flush=True)
        await replacer
        sampler.cancel()
    finally:
        for member in members:
            await member.stop()
    return members


def _requests(members: list[Member]) -> int:
    return sum(sum(member.seen.counts.values()) for member in members)


async def _cycle(members: list[Member], seconds: float, rate: float, rng: random.Random) -> None:
    """Callers at random moments, a burst in the middle, then nobody."""
    began, busy = time.monotonic(), seconds * (1 - IDLE)
    at, bursts = 0.0, [busy / 2]
    async with asyncio.TaskGroup() as group:
        while (at := at + rng.expovariate(rate)) < busy:
            await asyncio.sleep(max(0.0, began + at - time.monotonic()))
            [member] = rng.choices(members, [member.kind.share for member in members])
            scenes = member.kind.scenes
            [scene] = rng.choices(scenes, [scene.weight for scene in scenes])
            group.create_task(_act(member, scene, rng.randrange(2**32)))
            if bursts and at > bursts[0]:
                bursts.pop()
                for _ in range(TOGETHER):
                    group.create_task(_act(members[0], BURST, rng.randrange(2**32)))
    for member in members:
        await member.check_idle()
    await asyncio.sleep(max(0.0, began + seconds - time.monotonic()))


async def _act(member: Member, scene: Scene, seed: int) -> None:
    try:
        status = await scene.act(member.life.target, random.Random(seed))  # noqa: S311 - as above
    except (OSError, EOFError) as error:
        member.seen.add(scene, 0)
        member.seen.fault(f"{scene.name}: {type(error).__name__}")
    else:
        member.seen.add(scene, status)


async def _sample(members: list[Member], since: float, seconds: float) -> None:
    while True:
        for member in members:
            await member.sample(since)
        await asyncio.sleep(min(10.0, max(0.5, seconds / SAMPLES)))


async def _replace(members: list[Member], seconds: float) -> None:
    """Each that is to be replaced, three times per run, in the middle of what it does."""
    for _ in range(3):
        await asyncio.sleep(seconds / 4)
        for member in members:
            if member.kind.replaced:
                await member.replace()


if __name__ == "__main__":
    sys.exit(main())

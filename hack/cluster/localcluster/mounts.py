"""Mounts of this machine below folders of ours."""

from pathlib import Path

from .shell import run


def below(folders: list[Path], mountinfo: str) -> list[str]:
    """The mount points at or below `folders`, those mounted last first. `mountinfo` as in proc_pid_mountinfo(5)."""
    points = [_unescape(line.split()[4]) for line in mountinfo.splitlines()]
    prefixes = [str(folder) for folder in folders]
    ours = [p for p in points if any(p == prefix or p.startswith(prefix + "/") for prefix in prefixes)]
    return ours[::-1]


def _unescape(text: str) -> str:
    for escaped, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(escaped, character)
    return text


def remove(folders: list[Path]) -> None:
    """Unmounts everything below `folders`. Raises RuntimeError when something stays mounted: nothing below may then be
    deleted.
    """
    for point in below(folders, Path("/proc/self/mountinfo").read_text()):
        run(["umount", "--lazy", "--", point], check=False)
    if left := below(folders, Path("/proc/self/mountinfo").read_text()):
        raise RuntimeError(f"still mounted, though unmounting was tried: {', '.join(left[:5])}")

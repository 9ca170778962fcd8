"""How long until the model answers. Pure; used for `estimated_time` and /status."""

from __future__ import annotations

# Rough costs on one processor core, so that the first estimate is not a constant: importing torch and transformers,
# then reading weights (page cache or disk) and one warm-up.
IMPORT_SECONDS = 8.0
LOAD_BYTES_PER_SECOND = 250e6
LOAD_BASE_SECONDS = 1.0
UNKNOWN_DOWNLOAD_SECONDS = 20.0


def seconds_until_ready(
    *, stage: str, in_stage: float, since_start: float, download_seconds: float | None, size_bytes: int
) -> float | None:
    """Seconds, at least 1; None where nothing is to be expected (ready, failed, draining).

    `in_stage`, `since_start`: seconds. `download_seconds`: remaining by the measured rate, None while unknown.
    """
    load = LOAD_BASE_SECONDS + size_bytes / LOAD_BYTES_PER_SECOND
    importing = max(0.0, IMPORT_SECONDS - since_start)
    if stage == "Starting":
        return max(1.0, importing + load)
    if stage == "Downloading":
        download = download_seconds if download_seconds is not None else max(1.0, UNKNOWN_DOWNLOAD_SECONDS - in_stage)
        return max(1.0, max(download, importing) + load)  # both run at the same time
    if stage == "Loading":
        return max(1.0, importing + load - in_stage)
    return None

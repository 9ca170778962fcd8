"""`apply-crds`: brings the cluster's CRDs to those that this image carries; the chart's pre-upgrade hook
(decisions/0005).
"""

import asyncio
import logging
from pathlib import Path

import yaml

from slipway_operator import kinds
from slipway_operator.cluster.client import connect
from slipway_operator.kinds import Object

logger = logging.getLogger(__name__)

MANAGER = "slipway-crds"
FOLDER = Path("/crds")


async def apply_crds(folder: Path = FOLDER) -> None:
    """Server-side applies every CRD in `folder`.

    Raises errors.ClusterError, or FileNotFoundError when there is none.
    """
    wanted = await asyncio.to_thread(_read, folder)
    async with connect(connections=4, request_timeout=30) as client:
        for crd in wanted:
            live = await client.apply(kinds.CUSTOM_RESOURCE_DEFINITION, crd, manager=MANAGER)
            logger.info("applied %s (generation %s)", crd["metadata"]["name"], live["metadata"]["generation"])


def _read(folder: Path) -> list[Object]:
    files = sorted(folder.glob("*.yaml"))
    if not files:
        raise FileNotFoundError(f"no *.yaml in {folder}: this image carries no CRDs")
    return [yaml.safe_load(file.read_text()) for file in files]

"""Applies rendered children and does nothing else: no watch, no cache, no queue, no status.

Arguments: server, CA file, file of rendered children (one JSON list, with NAME and UID to replace), endpoints at a
time. Reads `name uid` per line until the end of its input, then writes its CPU seconds.
"""

import asyncio
import ssl
import sys
import time
from pathlib import Path

import aiohttp
import orjson
from slipway_operator.kinds import resource_of

SERVER, AUTHORITY, RENDERED, AT_ONCE = sys.argv[1:]
TEMPLATE = Path(RENDERED).read_bytes()
QUERY = {"fieldManager": "yardstick", "force": "true"}
HEADERS = {"Content-Type": "application/apply-patch+yaml", "Accept": "application/json"}


async def apply(http: aiohttp.ClientSession, name: bytes, uid: bytes) -> None:
    for child in orjson.loads(TEMPLATE.replace(b"NAME", name).replace(b"UID", uid)):
        path = resource_of(child).path(child["metadata"]["namespace"], child["metadata"]["name"])
        async with http.patch(path, params=QUERY, headers=HEADERS, data=orjson.dumps(child)) as response:
            orjson.loads(await response.read())
            response.raise_for_status()


async def main() -> None:
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    token = (await lines.readline()).decode().strip()
    headers = {"Authorization": f"Bearer {token}"}
    connector = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=AUTHORITY), limit=64)
    async with aiohttp.ClientSession(SERVER, connector=connector, headers=headers) as http:
        print("ready", flush=True)
        began = time.process_time()
        one_reads = asyncio.Lock()

        async def worker() -> None:
            while True:
                async with one_reads:
                    line = await lines.readline()
                if not line:
                    return
                name, uid = line.split()
                await apply(http, name, uid)

        await asyncio.gather(*(worker() for _ in range(int(AT_ONCE))))
    print(time.process_time() - began, flush=True)


asyncio.run(main())

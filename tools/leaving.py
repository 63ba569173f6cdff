"""How long after a client's leaving its provider's connection closes, in milliseconds.

    python tools/leaving.py [CLIENTS] [STREAMS]

Starts routeur as a process of its own, with STREAMS running streams beside. CLIENTS leave in each
of these situations, half of them with FIN, half with RST; "express" is the short cut that requests
take whose head is known, while connections to the provider are idle. Provider and clients are this
process, so both moments are of one clock.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
import statistics
import struct
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.fake import HOLD, Connection, Part, Request, Upstream, head, whole  # noqa: E402

CHUNK = b'data: {"choices":[{"delta":{"content":"word"}}]}\n\n'
STREAM = head(200, [("Content-Type", "text/event-stream"), ("Transfer-Encoding", "chunked")])
PIECE = b"%x\r\n%b\r\n" % (len(CHUNK), CHUNK)
WAITING = ("mid-stream", "silent stream", "before the first byte", "unstreamed")
SITUATIONS = (*WAITING, "upload", *(f"{case}, express" for case in WAITING))
APART = 0.005  # seconds between two clients that leave
WARM = 1.0  # seconds that answers take which make idle connections


def said(request: Request) -> tuple[str, int]:
    """The case that a request is, and its client's number."""
    if "audio" in request.path:
        return "upload", int(request.header("x-number") or 0)
    case, _, number = json.loads(request.body)["user"].partition("/")
    return case, int(number)


class Provider(Upstream):
    """Does what the request says."""

    def _next(self, request: Request) -> list[Part]:
        match said(request)[0].removesuffix(", express"):
            case "mid-stream" | "beside":
                return [STREAM, *([PIECE, 0.1] * 10_000)]
            case "silent stream":
                return [STREAM, PIECE, HOLD]
            case "warm":
                return [WARM, whole(b'{"id":"x","choices":[]}')]
        return [HOLD]


def request(case: str, number: int) -> bytes:
    if case == "upload":
        body = b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nm\r\n--b\r\n'
        body += b'Content-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + bytes(90_000)
        path, kind, size = "audio/transcriptions", "multipart/form-data; boundary=b", 90_000_000
    else:
        streamed = "unstreamed" not in case and case != "warm"
        asked = {"model": "m", "stream": streamed, "messages": [], "user": f"{case}/{number}"}
        body = json.dumps(asked).encode()
        path, kind, size = "chat/completions", "application/json", len(body)
    lines = f"POST /v1/{path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n"
    lines += f"Content-Length: {size}\r\n"
    if case == "upload":
        lines += f"X-Number: {number}\r\n"
    return lines.encode() + b"\r\n" + body


async def arrive(port: int, case: str, number: int) -> asyncio.StreamWriter:
    """A client whose request is under way as the situation says."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request(case, number))
    if case.startswith(("mid-stream", "silent stream", "beside")):
        await reader.readuntil(b"word")
    return writer


async def warm(port: int, number: int) -> None:
    """Leaves one more idle connection to the provider."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request("warm", number))
    await reader.readuntil(b"choices")
    writer.close()


async def measure(provider: Provider, port: int, case: str, clients: int) -> list[float]:
    """Milliseconds from leaving to closing, of every client."""
    if "express" in case:
        await asyncio.gather(*[warm(port, number) for number in range(clients)])
    writers = [await arrive(port, case, number) for number in range(clients)]
    found: dict[int, Connection] = {}
    while len(found) < clients:
        await asyncio.sleep(0.01)
        every = [(said(each), each.connection) for each in provider.requests]
        found = {number: where for (what, number), where in every if what == case}
    left = {}
    for number, writer in enumerate(writers):
        if number % 2:
            raw: socket.socket = writer.transport.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        left[number] = time.perf_counter()
        writer.transport.abort()
        await asyncio.sleep(APART)
    for connection in found.values():
        await connection.wait_closed()
    return [((found[n].closed_at or 0.0) - left[n]) * 1e3 for n in range(clients)]


async def start(folder: str, provider: Provider) -> tuple[asyncio.subprocess.Process, int]:
    file = Path(folder) / "router.yaml"
    here = {"dialect": "openai", "base_url": f"{provider.url}/v1", "api_key": "sk-1"}
    file.write_text(json.dumps({"server": {"port": 0}, "providers": {"p": here}}))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "routeur", "-c", str(file), cwd=ROOT, stderr=asyncio.subprocess.PIPE
    )
    assert process.stderr
    while line := await process.stderr.readline():
        if found := re.search(rb"serves on http://[^ ]*:(\d+)", line):
            asyncio.get_running_loop().create_task(swallow(process.stderr))
            return process, int(found[1])
    raise SystemExit("routeur did not start")


def end(process: asyncio.subprocess.Process) -> None:
    """However the measurement ended, nothing is left running."""
    with contextlib.suppress(ProcessLookupError):
        process.kill()


async def swallow(reader: asyncio.StreamReader) -> None:
    while await reader.read(65536):
        pass


async def main(clients: int = 200, streams: int = 500) -> None:
    provider = Provider()
    await provider.start()
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        process, port = await start(folder, provider)
        stack.callback(end, process)
        beside = [await arrive(port, "beside", number) for number in range(streams)]
        print(f"{clients} clients leave, {streams} streams run beside; milliseconds")
        print(f"{'':32}{'p50':>8}{'p99':>8}{'max':>8}")
        for case in SITUATIONS:
            ms = sorted(await measure(provider, port, case, clients))
            p99 = ms[min(len(ms) - 1, int(len(ms) * 0.99))]
            print(f"{case:32}{statistics.median(ms):8.2f}{p99:8.2f}{ms[-1]:8.2f}")
        for writer in beside:
            writer.transport.abort()
    with contextlib.suppress(TimeoutError):
        await provider.stop()


if __name__ == "__main__":
    asyncio.run(main(*map(int, sys.argv[1:3])))

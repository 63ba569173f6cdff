"""Programs of others as clients of a routeur on which only `echo` is."""

from __future__ import annotations

import asyncio
import os
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from routeur.app import Router
from routeur.config import parse

HOME = Path(__file__).parents[1]
PATIENCE = 60.0  # seconds; importing an SDK takes some


@asynccontextmanager
async def echoing() -> AsyncIterator[str]:
    """The address of a routeur that was configured by nothing but an empty environment."""
    router = Router(parse("server: {port: 0, drain: 1s}", None, {}))
    await router.start()
    try:
        yield f"http://127.0.0.1:{router.port}"
    finally:
        await router.stop()


async def run(*command: str | Path, **environ: str) -> str:
    """What a program prints, its errors included; it has to end well.

    It sees no variables but `environ` and where programs are, so neither keys nor proxies.
    """
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=PIPE,
        stderr=STDOUT,
        cwd=HOME,
        env={"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), **environ},
    )
    try:
        async with asyncio.timeout(PATIENCE):
            said, _ = await process.communicate()
    except BaseException:
        process.kill()
        await process.wait()
        raise
    assert process.returncode == 0, said.decode()
    return said.decode()

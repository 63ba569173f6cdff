"""Python runs this at its start: programs of tests have this folder in PYTHONPATH."""

from contextlib import suppress
from pathlib import Path

from tests.patience import ALWAYS, WITH_REDIS, wait_long

wait_long(ALWAYS)
with suppress(OSError):
    if "redis://" in Path("router.yaml").read_text():  # importing its client takes long
        wait_long(WITH_REDIS)

"""Runs the test suites of the official SDKs against a mock server: directly, then through routeur.

    python tools/sdk_suites.py [--specs DIR] [--work DIR] [--only openai] [--direct]

The suites ship in the source distributions of `openai` and `anthropic`; the mock server (steady,
from npm) is made from the API descriptions that they were generated for, and refuses requests that
break them. What passes directly has to pass through routeur. Needs pip, npm and the network.
Exit status: 0 if no test differs, 1 otherwise.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
import tomllib
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

MOCK = "@stdy/cli@0.22.1"
ARRAYS = [
    f"--validator-{part}-format=brackets"
    for part in ("query-array", "form-array", "query-object", "form-object")
]
TYPE_CHECKERS = ("pyright", "mypy", "ruff", "pandas-stubs", "boto3-stubs")
INSTALL, SUITE, START = 600, 900, 60  # seconds


@dataclass(frozen=True)
class Suite:
    """One SDK. `models` are those that its tests ask for by name; `under` is what follows routeur's
    address in the base URL that the SDK takes; `without` are tests that ask no server but expect a
    base URL without a path, so they fail with any that has one."""

    package: str
    version: str
    spec: str
    models: tuple[str, ...]
    under: str = ""
    without: tuple[str, ...] = ()


SUITES = (
    Suite(
        "openai",
        "3.3.1",
        "openai-openapi-sdk-3.3.1.yml",
        ("gpt-4o-mini",),
        "/v1",
        ("test_hardcoded_query_params_in_url", "test_respx2_preserves_native"),
    ),
    Suite("anthropic", "0.100.0", "anthropic-openapi-sdk-0.100.json", ("model_id",)),
)


def main() -> int:
    arguments = parse_arguments()
    with contextlib.ExitStack() as stack:
        work = arguments.work or stack.enter_context(tempfile.TemporaryDirectory())
        work = Path(work).resolve()
        work.mkdir(parents=True, exist_ok=True)
        differing = 0
        for suite in SUITES:
            if arguments.only in (None, suite.package):
                results = compare(suite, arguments, work)
                differing += len(show(suite, *results))
    return 1 if differing else 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    root = Path(__file__).resolve().parent.parent
    specs = root.parent / "shared/wire/specs"
    parser.add_argument("--specs", type=Path, default=specs, help="folder of the API descriptions")
    parser.add_argument("--work", type=Path, help="folder to keep downloads and environments in")
    parser.add_argument("--only", choices=[suite.package for suite in SUITES])
    parser.add_argument("--direct", action="store_true", help="leave routeur out: the baseline")
    parser.add_argument("--routeur", default=f"{sys.executable} -m routeur", help="its command")
    parser.add_argument("-n", default="2", help="processes of pytest (default: 2)")
    return parser.parse_args()


def compare(
    suite: Suite, arguments: argparse.Namespace, work: Path
) -> tuple[dict[str, str], dict[str, str] | None]:
    """The outcome of each test, directly and (unless left out) through routeur."""
    source = download(suite, work)
    python = environment(suite, source, work)
    steady = mock_server(work)
    with serving(
        [steady, "--host", "127.0.0.1", "-p", "{port}", *ARRAYS, arguments.specs / suite.spec],
        "/_x-steady/health",
        work / f"{suite.package}-mock.log",
    ) as mock:
        direct = run(suite, "direct", source, python, mock, arguments.n)
        if arguments.direct:
            return direct, None
        file = work / f"{suite.package}.yaml"
        file.write_text(configuration(suite, mock))
        with serving(
            [*arguments.routeur.split(), "-c", file, "--port", "{port}"],
            "/health/readiness",
            work / f"{suite.package}-server.log",
        ) as routeur:
            return direct, run(suite, "routeur", source, python, routeur + suite.under, arguments.n)


def configuration(suite: Suite, mock: str) -> str:
    models = ", ".join([*suite.models, '"*"'])
    return (
        f'server: {{drain: 1s}}\nstore: "memory:"\nproviders:\n  echo: off\n  {suite.package}:\n'
        f"    {{dialect: {suite.package}, base_url: {mock}, api_key: of-the-mock, "
        f"models: [{models}]}}\n"
    )


def download(suite: Suite, work: Path) -> Path:
    """The folder with the unpacked source distribution."""
    name = f"{suite.package}-{suite.version}"
    archive = work / f"{name}.tar.gz"
    if not archive.exists():
        say(f"downloading {name}")
        requirement = f"{suite.package}=={suite.version}"
        pip: list[str | Path] = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "-q",
            "--no-deps",
            "-d",
            work,
        ]
        do([*pip, "--no-binary", suite.package, requirement], INSTALL)
    if not (work / name).exists():
        with tarfile.open(archive) as tar:
            tar.extractall(work, filter="data")
    return work / name


def environment(suite: Suite, source: Path, work: Path) -> Path:
    """The Python of a virtual environment with the package and what its tests need."""
    home = work / f"venv-{suite.package}"
    python = home / "bin/python"
    ready = home / "ready"
    if not ready.exists():
        say(f"installing {suite.package} and what its tests need")
        do([sys.executable, "-m", "venv", home], INSTALL)
        project = tomllib.loads((source / "pyproject.toml").read_text())
        tests = [
            need
            for need in project["dependency-groups"]["dev"]
            if isinstance(need, str) and not need.startswith(TYPE_CHECKERS)
        ]
        extras = ",".join(project["project"]["optional-dependencies"])
        locked = work / f"{suite.package}-constraints.txt"
        locked.write_text(constraints(source))
        pip: list[str | Path] = [
            python,
            "-m",
            "pip",
            "install",
            "-q",
            "--disable-pip-version-check",
        ]
        do([*pip, "-c", locked, f"{source}[{extras}]", *tests], INSTALL)
        ready.touch()
    return python


def constraints(source: Path) -> str:
    """The versions that the suite was released with; packages locked to several are left open."""
    locked = tomllib.loads((source / "uv.lock").read_text())["package"]
    times = Counter(package["name"] for package in locked)
    return "".join(
        f"{package['name']}=={package['version']}\n"
        for package in locked
        if times[package["name"]] == 1 and "registry" in package["source"]
    )


def mock_server(work: Path) -> Path:
    program = work / "node_modules/.bin/steady"
    if not program.exists():
        say(f"installing {MOCK}")
        do(["npm", "install", "--no-fund", "--no-audit", "--prefix", work, MOCK], INSTALL)
    return program


@contextlib.contextmanager
def serving(command: list[str | Path], health: str, log: Path) -> Iterator[str]:
    """A server under way, `{port}` in its command being a free one; yields its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    words = [str(word).format(port=port) for word in command]
    with log.open("wb") as output:
        process = subprocess.Popen(words, stdout=output, stderr=output, start_new_session=True)
        try:
            wait_for(address + health, process, log)
            yield address
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(URLError, OSError), urlopen(url, timeout=2):
            return
        time.sleep(0.1)
    raise SystemExit(f"no answer at {url}; {log} ends with:\n{log.read_text()[-2000:]}")


def run(
    suite: Suite, how: str, source: Path, python: Path, url: str, processes: str
) -> dict[str, str]:
    """Test name → passed, failed or skipped."""
    say(f"{suite.package} {suite.version}, {how}: {url}")
    report = source.parent / f"{suite.package}-{how}.xml"
    report.unlink(missing_ok=True)
    quiet = ["-q", "-p", "no:cacheprovider", "-o", "junit_family=xunit1"]
    chosen = ["-k", " and ".join(f"not {name}" for name in suite.without)]
    with (source.parent / f"{suite.package}-{how}.log").open("wb") as output:
        subprocess.run(
            [python, "-m", "pytest", "-n", processes, *quiet, *chosen, f"--junitxml={report}"],
            cwd=source,
            env=os.environ | {"TEST_API_BASE_URL": url, "DEFER_PYDANTIC_BUILD": "false"},
            stdout=output,
            stderr=output,
            timeout=SUITE,
            check=False,
        )
    if not report.exists():
        raise SystemExit(f"pytest wrote no report; see {output.name}")
    return outcomes(report)


def outcomes(report: Path) -> dict[str, str]:
    """What a JUnit report says, the worse outcome where a name stands twice."""
    found: dict[str, str] = {}
    for case in ET.parse(report).iter("testcase"):
        kinds = {child.tag for child in case}
        outcome = "passed"
        if kinds & {"failure", "error"}:
            outcome = "failed"
        elif "skipped" in kinds:
            outcome = "skipped"
        name = f"{case.get('classname')}::{case.get('name')}"
        if found.get(name) != "failed":
            found[name] = outcome
    return found


def show(suite: Suite, direct: dict[str, str], routed: dict[str, str] | None) -> list[str]:
    """Print the table; returns the names of the tests that differ."""
    columns = {"directly": direct} | ({"through routeur": routed} if routed is not None else {})
    title = f"{suite.package} {suite.version}"
    print(f"\n{title:<46}{'passed':>8}{'failed':>8}{'skipped':>8}")
    for part, prefix in (("tests/api_resources", "tests.api_resources"), ("all tests", "")):
        for how, results in columns.items():
            counts = Counter(
                outcome for name, outcome in results.items() if name.startswith(prefix)
            )
            figures = (counts[each] for each in ("passed", "failed", "skipped"))
            print(f"  {part:<24}{how:<20}" + "".join(f"{figure:>8}" for figure in figures))
    if routed is None:
        return []
    names = sorted(
        name for name in direct.keys() | routed.keys() if direct.get(name) != routed.get(name)
    )
    print(f"  tests that differ: {len(names) or 'none'}")
    for name in names:
        print(f"    {name}: {direct.get(name, 'not run')} → {routed.get(name, 'not run')}")
    return names


def do(command: Sequence[str | Path], seconds: float) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    if done.returncode:
        raise SystemExit(
            f"{' '.join(map(str, command))}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
        )


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())

"""The commands: serve, check, explain, models, keys, usage, top, import. Errors: one line each."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import socket
import stat
import sys
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

from routeur import __version__, commands, explain, inventory, litellm, top, workers
from routeur.app import Router
from routeur.bus import RELOAD, Bus
from routeur.config import Config, Server, load, parse, problems
from routeur.errors import ConfigError, RouteurError
from routeur.log import Log, quiet_aiohttp, quiet_loop
from routeur.process import allow_files, prepare_streams, settle_memory
from routeur.server import require_free
from routeur.store.base import StoreUnusable
from routeur.watch import Watch

try:
    import uvloop
except ImportError:  # it comes with the extra `fast`
    uvloop = None  # type: ignore[assignment]

DEFAULT_FILE = Path("router.yaml")
REPLACE = "--replace-corrupt-store"
DESCRIPTION = "A reverse proxy for LLM APIs that copies bytes: one base_url, any provider."
EPILOG = """\
Without a subcommand, `serve` is meant. Without -c, router.yaml in the working directory is read;
without that, or without providers in it, every well-known provider is on whose key variable is set
(OPENAI_API_KEY, ANTHROPIC_API_KEY, GEMINI_API_KEY, …), and the built-in `echo`, which needs no key
and no network.

  routeur                                   serve on 127.0.0.1:8080
  routeur -c prod.yaml --workers 4          serve with four processes
  routeur check router.yaml                 print everything that is wrong with a file
  routeur explain --model gpt-4o            who would answer, and why
  routeur models 'gpt-*'                    what there is, and what it costs
  routeur keys create alice --limit 5       make a key that may spend 5 dollars
  routeur usage --days 7 --by day           what calls have used and cost
  routeur top                               watch a running server
  routeur import litellm config.yaml        make a router.yaml of LiteLLM's file

Signals: SIGTERM and SIGINT drain and end, SIGHUP reads the file again (so does its change).
"""


def main(argv: Sequence[str] | None = None) -> int:
    """The program; returns its exit status."""
    prepare_streams()
    arguments = [*(sys.argv[1:] if argv is None else argv)]
    options = _parser().parse_args(_with_command(arguments))
    try:
        run: Callable[[argparse.Namespace], int] = options.run
        return run(options)
    except ConfigError as error:
        for finding in error.findings:
            print(finding, file=sys.stderr)
    except BrokenPipeError:  # whoever reads has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (RouteurError, StoreUnusable) as error:
        print(f"routeur: {error}", file=sys.stderr)
    except OSError as error:
        what = f"{error.filename}: {error.strerror}" if error.filename else error
        print(f"routeur: {what}", file=sys.stderr)
    return 2


def _with_command(arguments: list[str]) -> list[str]:
    """`routeur -c FILE` means `routeur serve -c FILE`."""
    first = arguments[0] if arguments else ""
    if first in ("serve", "check", "explain", "-h", "--help", "--version"):
        return arguments
    if first and not first.startswith("-"):
        return arguments  # argparse says what there is
    return ["serve", *arguments]


class _Parser(argparse.ArgumentParser):
    """One whose errors are one line each."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def _parser() -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = _Parser(
        prog="routeur",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"routeur {__version__}")
    several = parser.add_subparsers(metavar="COMMAND", required=True)

    serve = several.add_parser("serve", help="run the server (the default)", allow_abbrev=False)
    _add_file(serve)
    serve.add_argument("--host", help="address to listen on, or unix:/PATH (server.host)")
    serve.add_argument("--port", type=_port, help="TCP port (server.port)")
    serve.add_argument("--workers", type=_count, help="number of processes (server.workers)")
    serve.add_argument(
        REPLACE, action="store_true", help="keep aside a store that is corrupt, and begin a new one"
    )
    serve.set_defaults(run=_serve)

    check = several.add_parser("check", help="print everything that is wrong with a configuration")
    named = check.add_mutually_exclusive_group()
    named.add_argument("file", nargs="?", type=Path, help="default: router.yaml")
    named.add_argument("-c", "--config", type=Path, metavar="FILE", help="the same")
    check.set_defaults(run=_check)

    _add_explain(several)
    inventory.add(several, _add_file, _offer)
    commands.add(several, _add_file, _place)
    top.add(several, _add_file, _listening)
    litellm.add(several, _complaints)
    return parser


def _add_explain(several: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    why = several.add_parser("explain", help="say who would answer a request, and why")
    _add_file(why)
    why.add_argument("--model", required=True, help="what the request's body would say")
    why.add_argument(
        "--header", action="append", default=[], metavar="'K: V'", help="may be given several times"
    )
    why.add_argument("--body", type=Path, metavar="FILE", help="a request body in JSON")
    why.add_argument(
        "--path",
        default="/v1/chat/completions",
        help="where it would be sent (default: %(default)s)",
    )
    why.add_argument("--json", action="store_true", help="print what Routeur-Dry-Run answers")
    why.set_defaults(run=_explain)


def _port(text: str) -> int:
    if not (text.isdecimal() and int(text) < 1 << 16):
        raise argparse.ArgumentTypeError(f"expected a port from 0 to 65535, got {text!r}")
    return int(text)


def _count(text: str) -> int:
    if not (text.isdecimal() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"expected 1 or more, got {text!r}")
    return int(text)


def _add_file(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-c", "--config", type=Path, metavar="FILE", help="default: router.yaml")


def _file(given: Path | None) -> Path | None:
    """The file that was named, else router.yaml if it is there, else none."""
    return given or (DEFAULT_FILE if DEFAULT_FILE.exists() else None)


def _config(options: argparse.Namespace) -> Config:
    """The configuration that options name."""
    return load(_file(options.config), os.environ)


def _offer(options: argparse.Namespace) -> inventory.Offer:
    """What `models` lists."""
    config = _config(options)
    aliases = {"auto": config.auto.models, **config.aliases}
    return inventory.Offer(config.providers, config.off, aliases, config.rules)


def _listening(options: argparse.Namespace) -> tuple[str, int]:
    """Where `top` finds the server; nothing else of the file has to be in order for that."""
    default = Server()
    return top.host_and_port(_file(options.config), os.environ, (default.host, default.port))


def _complaints(text: str, name: str) -> list[str]:
    """What `check` would say of a configuration."""
    try:
        parse(text, name, os.environ)
    except ConfigError as error:
        return error.findings
    return []


def _place(options: argparse.Namespace) -> commands.Place:
    """Where `keys` and `usage` have their work."""
    return _place_in(_config(options))


def _place_in(config: Config) -> commands.Place:
    return commands.Place(config.store, config.auth.secret, {*config.providers, *config.off})


# ---- check, explain


def _check(options: argparse.Namespace) -> int:
    path = options.file or options.config or DEFAULT_FILE
    config = load(path, os.environ)
    for notice in config.notices:
        print(notice)
    count = len(config.providers)
    print(f"{path}: ok ({count} provider{'s' * (count != 1)} on, {len(config.rules)} rules)")
    return 0


def _explain(options: argparse.Namespace) -> int:
    config = load(_file(options.config), os.environ)
    body = options.body.read_bytes() if options.body else None
    asked = explain.Question(options.model, options.header, body, options.path)
    print(explain.answer(config, asked, as_json=options.json))
    return 0


# ---- serve


def _serve(options: argparse.Namespace) -> int:
    path = _file(options.config)
    config = _with_options(load(path, os.environ), options)
    if config.server.workers > 1 and workers.FD not in os.environ:
        return _run(_parent(config, replace_corrupt=options.replace_corrupt_store))
    return _run(_worker(config, path, options))


def _with_options(config: Config, options: argparse.Namespace) -> Config:
    """The configuration with what the command line says of the server; it wins."""
    given = {
        name: getattr(options, name)
        for name in ("host", "port", "workers")
        if getattr(options, name) is not None
    }
    if not given:
        return config
    config = replace(config, server=replace(config.server, **given))
    wrong = problems(config.server, config.auth, config.store)
    if wrong:
        raise ConfigError([f"{where}: {what}" for where, what in wrong])
    return config


async def _parent(config: Config, *, replace_corrupt: bool) -> int:
    """The parent of several workers, which share the port. What they cannot start with is found
    before they are.
    """
    await commands.try_store(_place_in(config), replace_corrupt=replace_corrupt)
    log = Log(sys.stderr, config.log.level, config.log.format)
    host, port = config.server.host, config.server.port
    arguments = [each for each in _with_command(sys.argv[1:]) if each != REPLACE]
    listen: socket.socket | None = None
    try:
        if host.startswith("unix:"):
            held = listen = _bind_unix(host[5:])
        else:
            held = _reserve(host, port)
            arguments += ["--port", str(held.getsockname()[1])]
    except OSError as error:
        raise _cannot_listen(config, error) from None
    parent = workers.Parent(
        arguments,
        config.server.workers,
        lambda level, text: log.event(level, "workers", text),
        listen,
    )
    try:
        return await parent.run()
    finally:
        log.close()
        held.close()
        if listen is not None:
            with suppress(FileNotFoundError):
                os.unlink(host[5:])


def _bind_unix(path: str) -> socket.socket:
    """A socket for workers to listen on; one that somebody left behind is replaced, one that is
    served is not.
    """
    require_free(path)
    with suppress(FileNotFoundError):
        if stat.S_ISSOCK(os.stat(path).st_mode):
            os.unlink(path)
    made = socket.socket(socket.AF_UNIX)
    made.bind(path)
    return made


def _reserve(host: str, port: int) -> socket.socket:
    """Keep a port for workers that share it: bound, but not listening, so that nobody is sent here.

    The first try, without sharing, is to notice whoever else listens there.
    """
    family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind) as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        tried.bind(address)
    held = socket.socket(family, kind)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    held.bind(address)
    return held


def _cannot_listen(config: Config, error: OSError) -> OSError:
    host = config.server.host
    where = host if host.startswith("unix:") else f"{host}:{config.server.port}"
    why: object = error.strerror or error
    if error.errno and error.errno > 0:  # without what asyncio writes around it
        why = os.strerror(error.errno)
    return OSError(f"cannot listen on {where}: {why}")


async def _worker(config: Config, path: Path | None, options: argparse.Namespace) -> int:
    """One serving process, until a signal ends it."""
    log = Log(sys.stderr, config.log.level, config.log.format)
    quiet_aiohttp(log)
    quiet_loop(log)
    allow_files()
    router = Router(config, log=log, replace_corrupt=options.replace_corrupt_store)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)

    def read_again() -> None:
        try:
            fresh = _with_options(load(path, os.environ), options)
            router.reload(fresh)
        except ConfigError as error:
            log.event("error", "reload", "the file is invalid: the old one stays in force")
            for finding in error.findings:
                log.event("error", "reload", finding)
        except OSError as error:  # a certificate's file, say
            log.event("error", "reload", f"the old configuration stays in force: {error}")
        else:
            for notice in fresh.notices:
                log.event("info", "notice", notice)
            log.event("info", "reload", "the new configuration is in force")

    loop.add_signal_handler(signal.SIGHUP, read_again)
    await _listen(router, config, stop, read_again)
    watch = Watch(path, read_again) if path is not None else None
    _announce(router, log)
    settle_memory()
    await stop.wait()
    drain = f"draining for at most {config.server.drain:g} s"
    log.event("info", "stop", f"{drain}; a second signal cuts what is left")
    if watch is not None:
        watch.close()
    await _stop(router, stop)
    return 0


async def _listen(
    router: Router, config: Config, stop: asyncio.Event, read_again: Callable[[], None]
) -> None:
    fd = os.environ.get(workers.FD)
    if fd is not None:
        answer = router.peers.answer
        bus = Bus(
            int(fd),
            lambda asked: read_again() if asked == RELOAD else answer(asked),
            router.hear,
            stop.set,
        )
        await bus.start()
        await router.join(bus)
    listen = os.environ.get(workers.LISTEN_FD)
    taken = socket.socket(fileno=int(listen)) if listen else None
    try:
        await router.start(taken, share=fd is not None)
    except OSError as error:
        raise _cannot_listen(config, error) from None


def _announce(router: Router, log: Log) -> None:
    config = router.config
    waiting = [notice.split()[1] for notice in config.notices if notice.startswith("provider ")]
    for notice in config.notices:
        if not notice.startswith("provider "):
            log.event("info", "notice", notice)
    if waiting:
        log.event("info", "notice", f"off: {', '.join(waiting)} (routeur check says why)")
    place = config.server.host
    if not place.startswith("unix:"):
        host = f"[{place}]" if ":" in place else place
        place = f"http://{host}:{router.port}"
    names = ", ".join(config.providers)
    log.event("info", "start", f"routeur {__version__} serves on {place} (providers: {names})")
    log.flush()


async def _stop(router: Router, signalled: asyncio.Event) -> None:
    """Drain; after a second signal cut what is left, after a third do not wait for anything."""
    stopping = asyncio.create_task(router.stop())
    for _ in range(2):
        signalled.clear()
        again = asyncio.create_task(signalled.wait())
        await asyncio.wait([stopping, again], return_when=asyncio.FIRST_COMPLETED)
        again.cancel()
        router.hurry()


def _run(program: Coroutine[Any, Any, int]) -> int:
    """Run on uvloop where it is installed (the extra `fast`), else on asyncio's own loop."""
    make = None if uvloop is None else uvloop.new_event_loop
    with asyncio.Runner(loop_factory=make) as runner:
        return runner.run(program)


if __name__ == "__main__":
    sys.exit(main())

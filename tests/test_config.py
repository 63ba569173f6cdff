"""router.yaml: every kind of mistake with its line, what a file means, and what is off or idle."""

# ruff: noqa: E501 (a table reads better with one case a line)

import re
from pathlib import Path

import pytest

from routeur.config import Auth, Server, load, parse, problems
from routeur.errors import ConfigError
from routeur.providers import Credential, CredentialModel, Secret, Timeouts
from routeur.rules import Target
from routeur.usage import Price
from routeur.yamlfile import Section

REFERENCE = Path(__file__).parents[1] / "router.yaml"

DESIGN = """
server: {host: 127.0.0.1, port: 8080, workers: 1, max_body: 100MB, drain: 30s}   # or unix:/run/…
auth:
  master_key: ${ROUTEUR_MASTER_KEY:-}
  management_key: ${ROUTEUR_MANAGEMENT_KEY:-}
  secret: ${ROUTEUR_SECRET:-}
store: sqlite:routeur.db
timeouts: {connect: 5s, first_byte: 120s, idle: 60s}
providers:
  openai: {preset: openai, models: [gpt-4o, gpt-4o-mini, text-embedding-3-small]}
  azure:
    dialect: openai
    credentials:
      - {name: eu, base_url: https://eu.example/openai/v1, api_key: ${AZURE_EU}, weight: 2, rpm: 600, tpm: 200000}
      - {name: us, base_url: https://us.example/openai/v1, api_key: ${AZURE_US}, fallback: true}
    models: {gpt-4o: {id: my-deployment, price: {input: 2.5, output: 10, cache_read: 1.25}}}
  anthropic: {preset: anthropic, models: ["claude-*"]}
  google: {preset: google, models: ["gemini-*"]}
  vertex: {preset: vertex, project: p, location: europe-west4, models: ["gemini-*", "claude-*"]}
  bedrock: {dialect: bedrock, region: us-east-1, models: ["anthropic.claude-*"]}
  vllm: {dialect: openai, base_url: http://127.0.0.1:8000/v1}
  a: {dialect: openai, base_url: https://a.example/v1}
  b: {dialect: openai, base_url: https://b.example/v1}
aliases: {fast: [openai/gpt-4o-mini, anthropic/claude-haiku-4-5], auto: []}
auto: {models: [openai/gpt-4o], strategy: balanced, weights: {latency: 0.4, price: 0.4, quality: 0.2}, classifier: null}
rules:
  - name: pictures
    priority: 100
    match: {model: auto, has: [image], tokens: {gt: 1000}, stream: true, key: "team-*", headers: {X-Tier: gold}}
    to: [openai/gpt-4o, google/gemini-2.5-flash]
  - {name: trial, match: {model: fast}, split: {openai/gpt-4o-mini: 9, anthropic/claude-haiku-4-5: 1}}
  - {name: cheap, match: {model: cheap}, to: [a/x, b/y], sort: price}
retries: {attempts: 3, budget: 0.2, statuses: [408, 409, 429, 500, 502, 503, 504, 529]}
ban: {after: 3, for: 60s}
responses: {keep: 30d, max_size: 1GB}
cache_marks: off
limits: {assumed_output: 4096, unpriced: refuse, store_unavailable: refuse}
traces: {keep: 7d, max: 1000000, payloads: false}
log: {level: info, format: auto}
"""

KEYS = {
    "OPENAI_API_KEY": "sk-openai",
    "ANTHROPIC_API_KEY": "sk-ant",
    "GEMINI_API_KEY": "AIza",
    "AZURE_EU": "eu-key",
    "AZURE_US": "us-key",
}


def findings(text, environ=None):
    with pytest.raises(ConfigError) as caught:
        parse(text, "r.yaml", environ or {})
    return caught.value.findings


def one(settings, environ=None):
    """The only provider of a configuration besides echo."""
    config = parse(f"providers: {{p: {settings}}}", "r.yaml", environ or {})
    return config.providers["p"]


LOCAL = "providers:\n  up: {dialect: openai, base_url: http://127.0.0.1:1/v1}\n"
SHARES = (
    LOCAL + "  x: {dialect: openai, base_url: http://h, models: [gpt-4o], credentials: [{name: a, "
)

WRONG = [
    ("servr: {}", '1: servr: unknown setting "servr"; did you mean "server"?'),
    ("server: {prot: 1}", '1: server.prot: unknown setting "prot"; did you mean "port"?'),
    ("server: {zzz: 1}", '1: server.zzz: unknown setting "zzz"'),
    ("server:\n  port: http", '2: server.port: expected a whole number from 0 to 65535, found "http"'),
    ("server: {port: 70000}", "1: server.port: expected a whole number from 0 to 65535, found 70000"),
    ("server: {port: [1]}", "1: server.port: expected text, found a list"),
    ("server: {workers: 0}", "1: server.workers: expected a whole number of at least 1, found 0"),
    ("server: {max_body: 1XB}", "1: server.max_body: expected a size like 64KB, 100MB or 1GiB, found \"1XB\""),
    ("server: {drain: soon}", '1: server.drain: expected a duration like 800ms, 60s, 5m, 1h or 30d, found "soon"'),
    ("server: 8080", '1: server: expected a mapping, found "8080"'),
    ("server: [1]", "1: server: expected a mapping, found a list"),
    ("- server", "1: expected a mapping, found a list"),
    ("log: {level: info}\nlog: {level: debug}", "2: log: stands twice; first in line 1"),
    ("log: {level: warn}", '1: log.level: expected debug, info, warning or error, found "warn"; did you mean "warning"?'),
    ("timeouts: {idle: 0}", '1: timeouts.idle: expected a duration of more than 0, found "0"'),
    ("traces: {payloads: maybe}", '1: traces.payloads: expected true or false, found "maybe"'),
    ("retries: {budget: 2}", "1: retries.budget: expected a number from 0 to 1, found 2"),
    ("retries: {budget: much}", '1: retries.budget: expected a number from 0 to 1, found "much"'),
    ("retries:\n  statuses: [429, 200]", "2: retries.statuses[1]: expected a whole number from 400 to 599, found 200"),
    ("store: mysql://x", "1: store: expected memory:, sqlite:FILE or redis://HOST:PORT/DB"),
    ("auto: {classifier: f}", '1: auto.classifier: expected "module:function", as in "classifier:difficulty", not "f"'),
    ("store: 'redis://${USER}:${PASS}@${USER}'", "1: store: USER and PASS are not set; set them, or write ${USER:-default}"),
    ("log: {level: '${LEVEL}'}", "1: log.level: LEVEL is not set; set it, or write ${LEVEL:-default}"),
    ("log: {level: '${1X}'}", '1: log.level: expected ${NAME} or ${NAME:-default}, found "${1X}"'),
    ("auth: {master_key: $ROUTEUR_KEY}", "1: auth.master_key: expected a key, or ${NAME} for a variable: with braces"),
    ("providers: {x: {preset: openai, api_key: os.environ/OPENAI_API_KEY}}", "1: providers.x.api_key: expected a key, or ${NAME} for a variable: with braces"),
    ("traces: {keep: 7}", '1: traces.keep: expected a duration like 800ms, 60s, 5m, 1h or 30d, found "7"'),
    ("model_list: []", "1: model_list: is LiteLLM's: `routeur import litellm FILE` makes a router.yaml of its file"),
    ("auth: {master_key: a b}", "1: auth.master_key: expected a key of printable ASCII without spaces"),
    # providers
    ("providers: {x: {preset: opnai}}", '1: providers.x.preset: unknown preset "opnai"; did you mean "openai"?'),
    ("providers: {x: {api_key: k}}", "1: providers.x: expected a preset, or a dialect (openai, anthropic, gemini, bedrock or echo)"),
    ("providers: {x: on}", "1: providers.x: expected settings, or off; to switch it on: {preset: x}"),
    ("providers: {x: {dialect: openia}}", '1: providers.x.dialect: expected openai, anthropic, gemini, bedrock or echo, found "openia"; did you mean "openai"?'),
    ("providers: {x: {dialect: openai}}", "1: providers.x: expected a base_url, or a preset"),
    ("providers: {openai: {preset: openai, dialect: gemini}}", "1: providers.openai.dialect: preset openai speaks openai; give a base_url, too"),
    ("providers: {v1: {preset: openai}}", '1: providers.v1: "v1" is a path of routeur\'s own; choose another name'),
    ("providers: {a/b: {preset: openai}}", "1: providers.a/b: expected a name that can stand in a path, without any of / : ? # % and spaces"),
    ("providers: {'a?b': {preset: openai}}", "1: providers.a?b: expected a name that can stand in a path, without any of / : ? # % and spaces"),
    ("providers: {..: {preset: openai}}", "1: providers...: expected a name that can stand in a path, without any of / : ? # % and spaces"),
    ("providers: {x: {dialect: openai, base_url: 'ftp://x'}}", "1: providers.x.base_url: expected a URL that begins with http:// or https://"),
    ("providers: {x: {dialect: openai, base_url: 'http:///v1'}}", "1: providers.x.base_url: expected a URL with a host"),
    ("providers: {x: {dialect: openai, base_url: 'http://h:0/'}}", "1: providers.x.base_url: expected a URL with a port from 1 to 65535"),
    ("providers: {x: {dialect: openai, base_url: 'http://h:x/'}}", "1: providers.x.base_url: expected a URL with a port from 1 to 65535"),
    ("providers: {x: {dialect: openai, base_url: 'http://u:p@h'}}", "1: providers.x.base_url: expected a URL without a user; the key goes into api_key"),
    ("providers: {x: {dialect: openai, base_url: 'http://h/v1/chat/completions/'}}", "1: providers.x.base_url: expected a URL without /chat/completions, which is added to it"),
    ("providers: {x: {preset: openai, api_key: '\"sk-a\"'}}", "1: providers.x.api_key: expected a key without quotes around it"),
    ("providers: {x: {dialect: openai, base_url: 'http://h/?a=1'}}", "1: providers.x.base_url: expected a URL without a query"),
    ("providers: {x: {dialect: openai, base_url: 'http://h/a b'}}", "1: providers.x.base_url: expected a URL of printable ASCII without spaces"),
    ("providers: {x: {dialect: openai, base_url: '${URL}'}}", "1: providers.x.base_url: URL is not set; set it, or write ${URL:-default}"),
    (LOCAL + "  x: {dialect: openai, credentials: [{base_url: http://h}]}", "3: providers.x.credentials[0]: expected a name"),
    (LOCAL + "  x: {dialect: openai, credentials: [{name: a}]}", "3: providers.x.credentials[0]: expected a base_url"),
    (LOCAL + "  x: {dialect: openai, base_url: http://h, credentials: []}", "3: providers.x.credentials: expected at least one credential"),
    (
        LOCAL + "  x:\n    dialect: openai\n    base_url: http://h\n    credentials:\n    - name: a\n    - name: a",
        '8: providers.x.credentials[1].name: "a" stands twice; first in line 7',
    ),
    (
        LOCAL + "  up.a: {dialect: openai, base_url: http://h}\n"
        "  x: {dialect: openai, base_url: http://h, models: {'a-*': {id: b}}}",
        "4: providers.x.models.a-*: a pattern takes no settings; name the model",
    ),
    (
        "providers:\n  a.b: {dialect: openai, base_url: http://h}\n"
        "  a: {dialect: openai, base_url: http://h, credentials: [{name: b}]}",
        '3: providers.a: "a.b" is also a credential of a.b; rename one',
    ),
    (LOCAL + "  x: {preset: openai, api_key: k, rpm: 0}", "3: providers.x.rpm: expected a whole number of at least 1, or -1 for no limit, found 0"),
    (LOCAL + "  x: {preset: openai, api_key: k, weight: 0}", "3: providers.x.weight: expected a whole number of at least 1, found 0"),
    (SHARES + "models: {gpt-4: {}}}]}", '3: providers.x.credentials[0].models.gpt-4: x lists no model "gpt-4"; did you mean "gpt-4o"?'),
    (SHARES + "models: {'a-*': {}}}]}", "3: providers.x.credentials[0].models.a-*: a pattern takes no settings; name the model"),
    (SHARES + "models: [gpt-4o]}]}", "3: providers.x.credentials[0].models: expected a mapping, found a list"),
    (SHARES + "models: {gpt-4o: {weigth: 1}}}]}", '3: providers.x.credentials[0].models.gpt-4o.weigth: unknown setting "weigth"; did you mean "weight"?'),
    (SHARES + "models: {gpt-4o: {weight: -1}}}]}", "3: providers.x.credentials[0].models.gpt-4o.weight: expected a whole number of at least 0, found -1"),
    (SHARES + "models: {gpt-4o: {rpm: 0}}}]}", "3: providers.x.credentials[0].models.gpt-4o.rpm: expected a whole number of at least 1, or -1 for no limit, found 0"),
    (SHARES + "models: {gpt-4o: {tpm: many}}}]}", '3: providers.x.credentials[0].models.gpt-4o.tpm: expected a whole number of at least -1, found "many"'),
    (SHARES + "models: {gpt-4o: {weight: 0}}}, {name: b, models: {gpt-4o: {weight: 0}}}]}", '3: providers.x.credentials: no credential serves "gpt-4o": the weight of each is 0'),
    (LOCAL + "  x: {preset: openai, headers: {a b: c}}", '3: providers.x.headers.a b: "a b" cannot be the name of a header'),
    (LOCAL + "  x: {preset: openai, headers: {Host: c}}", "3: providers.x.headers.Host: header Host is written by routeur itself"),
    (LOCAL + '  x: {preset: openai, headers: {a: "b\\r\\nc"}}', "3: providers.x.headers.a: expected printable ASCII"),
    (LOCAL + "  x: {preset: openai, tls: {ca: /no/file}}", '3: providers.x.tls.ca: no such file: "/no/file"'),
    (LOCAL + "  x: {preset: openai, proxy: nowhere}", "3: providers.x.proxy: expected a URL that begins with http:// or https://"),
    (LOCAL + "  x: {preset: openai, region: eu}", '3: providers.x.region: unknown setting "region"'),
    (LOCAL + "  x: {preset: openai, models: {m: {price: {inptu: 1}}}}", '3: providers.x.models.m.price.inptu: unknown setting "inptu"; did you mean "input"?'),
    (LOCAL + "  x: {preset: openai, models: {m: {has: [images]}}}", '3: providers.x.models.m.has[0]: expected image, file, audio, tools, json or reasoning, found "images"; did you mean "image"?'),
    # targets and rules
    (LOCAL + "aliases: {fast: [up]}", '3: aliases.fast[0]: expected provider/model, found "up"'),
    (LOCAL + "auto: {models: [upp/x]}", '3: auto.models[0]: unknown provider "upp"; did you mean "up"?'),
    (LOCAL + "rules:\n- {name: a, to: [up/x, opnai/y]}", '4: rules[0].to[1]: unknown provider "opnai"'),
    (LOCAL + "rules: [{name: a}]", "3: rules[0]: expected to (a list of targets) or split (targets and weights)"),
    (LOCAL + "rules: [{to: up/x}]", "3: rules[0]: expected a name"),
    (LOCAL + "rules: [{name: a, to: up/x, split: {up/y: 1}}]", "3: rules[0].split: expected to or split, not both"),
    (LOCAL + "rules: [{name: a, strategy: price, split: {up/y: 1}}]",
     "3: rules[0].strategy: expected strategy or split, not both: split draws by weight"),
    (LOCAL + "rules: [{name: a, split: {up/y: 0}}]", "3: rules[0].split.up/y: expected a whole number of at least 1, found 0"),
    (LOCAL + "rules:\n- {name: a, to: up/x}\n- {name: a, to: up/y}", '5: rules[1].name: "a" stands twice; first in line 4'),
    (LOCAL + "rules: [{name: a, to: up/x, match: {modle: x}}]", '3: rules[0].match.modle: unknown setting "modle"; did you mean "model"?'),
    (LOCAL + "rules: [{name: a, to: up/x, match: {tokens: {gt: 5, lt: 6}}}]", "3: rules[0].match.tokens: no number is more than 5 and less than 6"),
    (LOCAL + "rules: [up/x]", '3: rules[0]: expected a mapping, found "up/x"'),
    (LOCAL + "  x: [1]", "3: providers.x: expected settings, or off; found a list"),
    (LOCAL + "rules: {a: up/x}", "3: rules: expected a list, found a mapping"),
    # safety
    ("server: {host: '[::1]'}", '1: server.host: expected "::1", without brackets'),
    ("server: {host: 'unix:'}", '1: server.host: expected an address or unix:/PATH, found "unix:"'),
    ("server: {host: 0.0.0.0}", '1: server.host: "0.0.0.0" can be reached from elsewhere; set auth.master_key, or use 127.0.0.1'),
    ("server: {host: '::'}\nauth: {master_key: short}", "2: auth.master_key: has 5 characters; off loopback a key needs 16 or more"),
    ("server: {host: '::'}\nauth: {master_key: changeme-changeme}", "2: auth.master_key: is well known; off loopback a key must be random, as from: openssl rand -hex 24"),
    ("auth: {secret: short}", "1: auth.secret: has 5 characters; expected a random secret of 16 or more, as from: openssl rand -hex 32"),
    ("auth: {master_key: one, management_key: one}", "1: auth.management_key: is the master key, too: one infers, the other never does; make another"),
    ("providers:\n\tx: {}", "2: not YAML: while scanning for the next token, found character that cannot start any token; indent with spaces, not with tabs"),
    ("store: memory:", '1: not YAML: mapping values are not allowed in this context; quote what has a colon before a space or its end, as in store: "memory:"'),
    ("server: {workers: 2}\nstore: 'memory:'", "2: store: several workers cannot share memory:; expected sqlite: or redis:"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), WRONG, ids=[expected for _, expected in WRONG])
def test_finding(text, expected):
    assert findings(text) == [f"r.yaml:{expected}"]


def test_all_findings_at_once_in_the_order_of_the_file():
    text = (
        "server: {port: x}\nproviders:\n  a: {dialect: b}\nrules:\n- {name: r, to: c/d}\nlgo: {}\n"
    )
    assert [line.split(": ")[0] for line in findings(text)] == [f"r.yaml:{n}" for n in (1, 3, 5, 6)]


def test_a_finding_is_told_once():
    text = "auth: {master_key: a, master_key: b}\nserver: {host: 0.0.0.0}\naliases: {a: {b: c}}"
    assert findings(text) == [
        "r.yaml:1: auth.master_key: stands twice; first in line 1",
        "r.yaml:1: auth.master_key: has 1 characters; off loopback a key needs 16 or more",
        "r.yaml:3: aliases.a: expected a list, found a mapping",
    ]


def test_yaml_that_is_none():
    (finding,) = findings("server: {port: 1\nlog: [")
    assert finding.startswith("r.yaml:2: not YAML: ")
    (finding,) = findings("a: 1\n---\nb: 2")
    assert finding.startswith("r.yaml:2: not YAML: expected a single document")


def test_files_that_cannot_be_read(tmp_path):
    (tmp_path / "latin.yaml").write_bytes(b"log: \xff")
    for name, why in (
        ("none.yaml", "No such file or directory"),
        ("latin.yaml", "not UTF-8 at byte 5"),
    ):
        with pytest.raises(ConfigError) as caught:
            load(tmp_path / name, {})
        assert caught.value.findings == [f"{tmp_path / name}: {why}"]


def test_a_secret_is_in_no_finding():
    text = "server: {host: 0.0.0.0}\nauth: {master_key: hunter2}\nproviders: {p: {dialect: openai, base_url: 'x://u:hunter2@h'}}"
    assert "hunter2" not in "\n".join(findings(text))


@pytest.mark.parametrize("setting", ["", "null", "''", "${NONE:-}", "{}"])
def test_what_is_empty_counts_as_left_out(setting):
    assert parse(f"server: {setting}\nrules: \n", "r.yaml", {}).server == Server()


def test_durations_and_sizes():
    for text, seconds in [
        ("800ms", 0.8),
        ("1.5s", 1.5),
        ("5m", 300),
        ("1h", 3600),
        ("30d", 2592000),
        ("0", 0),
    ]:
        assert parse(f"server: {{drain: {text}}}", None, {}).server.drain == seconds
    for text, size in [
        ("100MB", 10**8),
        ("64KB", 64000),
        ("64kb", 64000),
        ("1GiB", 2**30),
        ("5", 5),
    ]:
        assert parse(f"server: {{max_body: {text}}}", None, {}).server.max_body == size


def test_variables_anywhere_in_a_string():
    text = (
        "{dialect: openai, base_url: 'https://${HOST}/${PATH:-v1}', models: [${M}, ${N:-n, {o: p}]}"
    )
    provider = one(text, {"HOST": "h.example", "M": "m: {1}"})
    assert provider.credentials[0].base_url == "https://h.example/v1"
    assert list(provider.models) == ["m: {1}", "n, {o: p"]
    assert parse("server: {port: ${PORT:-99}}", None, {"PORT": ""}).server.port == 99
    assert parse("server: {port: ${PORT:-99}}", None, {"PORT": "7"}).server.port == 7


def test_keys_come_from_their_variables():
    environ = {"ROUTEUR_MASTER_KEY": "m", "ROUTEUR_MANAGEMENT_KEY": "g"}
    assert parse("", None, environ).auth == Auth(Secret("m"), Secret("g"))
    assert load(None, environ).auth == Auth(Secret("m"), Secret("g"))
    assert parse("auth: {master_key: null}", None, environ).auth.master_key is None


def test_the_contracts_example():
    config = parse(DESIGN, "r.yaml", KEYS)
    assert list(config.providers) == (
        "openai azure anthropic google vertex bedrock vllm a b echo".split()
    )
    assert config.off == {}
    azure = config.providers["azure"]
    assert azure.credentials == (
        Credential("azure.eu", "azure", "https://eu.example/openai/v1", Secret("eu-key"), 2, False, 600, 200000),
        Credential("azure.us", "azure", "https://us.example/openai/v1", Secret("us-key"), fallback=True),
    )  # fmt: skip
    assert azure.id_of("gpt-4o") == "my-deployment"
    assert azure.models["gpt-4o"].price == Price(input=2.5, output=10, cache_read=1.25)
    pictures, trial, cheap = config.rules
    assert pictures.to == (Target("openai", "gpt-4o"), Target("google", "gemini-2.5-flash"))
    assert (pictures.priority, pictures.match.tokens_gt, pictures.match.stream) == (100, 1000, True)
    assert pictures.match.headers == {"x-tier": "gold"}
    assert trial.split[0] == (Target("openai", "gpt-4o-mini"), 9)
    assert cheap.sort == "price"
    assert config.aliases["auto"] == ()
    assert config.notices == ()


def test_a_provider_without_its_key_is_off_and_its_targets_are_skipped():
    config = parse(DESIGN, "r.yaml", {"OPENAI_API_KEY": "k", "AZURE_US": "k"})
    assert config.off["anthropic"] == "ANTHROPIC_API_KEY is not set"
    assert config.off["google"].startswith("GEMINI_API_KEY, GOOGLE_API_KEY or ")
    assert [each.name for each in config.providers["azure"].credentials] == ["azure.us"]
    assert config.rules[0].to == (Target("openai", "gpt-4o"),)
    assert "provider anthropic is off: ANTHROPIC_API_KEY is not set" in config.notices
    assert (
        "r.yaml:14: providers.azure.credentials[0]: credential eu is left out: AZURE_EU is not set"
        in config.notices
    )
    assert (
        "r.yaml:24: aliases.fast[1]: anthropic/claude-haiku-4-5 is skipped; "
        "provider anthropic is off: ANTHROPIC_API_KEY is not set" in config.notices
    )


@pytest.mark.parametrize("environ", [{}, {"K": ""}])
def test_a_key_that_is_unset_or_empty(environ):
    text = "providers: {p: {dialect: openai, base_url: http://h, api_key: ${K}}}"
    config = parse(text, None, environ)
    assert config.off == {"p": "K is not set"}
    assert config.notices == ("provider p is off: K is not set",)
    text = text.replace("${K}", "${K:-}")
    assert parse(text, None, environ).providers["p"].credentials[0].api_key is None


@pytest.mark.parametrize(
    "text", ["", "\n \n", "# router.yaml\n\n  # the rest is to come\n", "---\n", "--- # x\n# y\n"]
)
def test_a_file_that_says_nothing(tmp_path, text):
    """It may be one that is just being written: with the defaults nobody would need a key."""
    path = tmp_path / "router.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"says nothing; write \{\} for the defaults"):
        load(path, {})
    path.write_text(text + "{}")
    assert load(path, {}).providers


def test_a_store_in_memory():
    """Its colon wants quotes in YAML."""
    for text in ("store: 'memory:'", "store: memory"):
        assert parse(text, "r.yaml", {}).store == "memory:"


def test_a_server_that_can_ask_nobody_says_so():
    said = parse("providers: {p: {preset: openai}, echo: off}", "r.yaml", {}).notices
    assert said[-1] == "nobody can be asked: no provider is on"


def test_all_credentials_without_keys():
    text = "{preset: openai, credentials: [{name: a, api_key: ${A}}, {name: b, api_key: ${B}}]}"
    config = parse(f"providers: {{p: {text}}}", None, {})
    assert config.off == {"p": "A is not set; B is not set"}


def test_credentials_inherit_from_their_provider():
    text = "{preset: openai, rpm: 5, credentials: [{name: a, weight: 3}, {name: b, api_key: x, rpm: 9}]}"
    first, second = one(text, {"OPENAI_API_KEY": " k\n"}).credentials
    assert first == Credential("p.a", "p", "https://api.openai.com/v1", Secret("k"), 3, False, 5)
    assert second == Credential("p.b", "p", "https://api.openai.com/v1", Secret("x"), 1, False, 9)


def test_a_credential_has_weights_and_limits_for_single_models():
    text = "{dialect: openai, base_url: http://h, models: ['gpt-*'], credentials: ["
    text += "{name: a, weight: 3, models: {gpt-4o: {weight: 0}, gpt-5: {rpm: 60}}}, {name: b}]}"
    first, second = one(text).credentials
    assert first.models == {"gpt-4o": CredentialModel(weight=0), "gpt-5": CredentialModel(rpm=60)}
    assert [first.weight_for(name) for name in ("gpt-4o", "gpt-5", "gpt-6")] == [0, 3, 3]
    assert (second.models, second.weight_for("gpt-4o")) == ({}, 1)


def test_where_any_name_is_served_a_credential_may_say_something_of_any():
    text = "{dialect: openai, base_url: http://h, credentials: [{name: a, models: {z: {tpm: 9}}}]}"
    assert one(text).credentials[0].models == {"z": CredentialModel(tpm=9)}


def test_rules_and_aliases_without_targets_are_skipped():
    text = "providers: {openai: off}\naliases: {a: openai/x}\nrules:\n- {name: r, to: [openai/x]}"
    config = parse(text, "r.yaml", {})
    assert (config.aliases, config.rules) == ({}, ())
    assert "r.yaml:2: aliases.a: no target is left; the alias is skipped" in config.notices
    assert "r.yaml:4: rules[0]: no target is left; the rule is skipped" in config.notices


def test_an_alias_that_hides_a_model():
    text = LOCAL + "  x: {preset: openai, api_key: k, models: ['gpt-*', m]}\n"
    text += "aliases: {gpt-4: up/x}\nrules: [{name: r, match: {model: [m, 'z*', other]}, to: up/x}]"
    assert parse(text, None, {}).notices == (
        'alias "gpt-4" hides the model of that name at x',
        'alias "m" hides the model of that name at x',
    )


def test_models():
    assert one("{preset: openai, api_key: k}").any_name
    assert "gpt-4o" in one("{preset: openai, api_key: k}").models
    listed = one("{preset: openai, api_key: k, models: [m, 'gpt-*', '*']}")
    assert (list(listed.models), listed.globs, listed.any_name) == (["m"], ("gpt-*",), True)
    mapped = one(
        "{preset: openai, api_key: k, models: {m: , 'gpt-*': {}, n: {context: 9, has: image}}}"
    )
    assert (list(mapped.models), mapped.globs, mapped.any_name) == (["m", "n"], ("gpt-*",), False)
    assert (mapped.models["n"].context, mapped.models["n"].has) == (9, frozenset(["image"]))


def test_settings_of_a_provider(tmp_path):
    (tmp_path / "ca.pem").touch()
    provider = one(
        "{dialect: anthropic, base_url: 'https://h/x/', api_key: k, auth: bearer, headers: {A: b}, "
        f"timeouts: {{idle: 1s}}, responses: false, tls: {{ca: {tmp_path}/ca.pem}}, "
        "proxy: 'http://u:p@proxy:3128'}"
    )
    assert provider.credentials[0].base_url == "https://h/x"
    assert (provider.auth, provider.headers, provider.responses) == ("bearer", {"A": "b"}, False)
    assert provider.timeouts == Timeouts(idle=1.0)
    assert (provider.tls.ca, provider.proxy) == (f"{tmp_path}/ca.pem", "http://u:p@proxy:3128")


@pytest.mark.parametrize(
    ("dialect", "auth"),
    [("openai", "bearer"), ("anthropic", "x-api-key"), ("gemini", "x-goog-api-key")],
)
def test_the_header_that_carries_the_key(dialect, auth):
    assert one(f"{{dialect: {dialect}, base_url: http://h}}").auth == auth


def test_timeouts_are_inherited():
    text = "timeouts: {connect: 1s}\n" + LOCAL
    text += "rules: [{name: r, to: up/x, timeouts: {idle: 9s}}, {name: s, to: up/x}]"
    config = parse(text, None, {})
    assert config.providers["up"].timeouts == Timeouts(connect=1.0)
    assert config.rules[0].timeouts == Timeouts(connect=1.0, idle=9.0)
    assert config.rules[1].timeouts is None


def test_echo():
    alone = parse("", None, {}).providers["echo"]
    assert (list(alone.models), alone.any_name) == (["echo"], True)
    beside = parse(LOCAL, None, {}).providers
    assert list(beside) == ["up", "echo"] and not beside["echo"].any_name
    assert list(parse(LOCAL + "  echo: off", None, {}).providers) == ["up"]
    assert list(parse("providers: {echo: on, openai: off}", None, {}).providers) == ["echo"]
    placed = parse(LOCAL.replace("\n", "\n  echo: {dialect: echo}\n", 1), None, {}).providers
    assert list(placed) == ["echo", "up"] and list(placed["echo"].models) == ["echo"]


def test_a_keepalive_that_is_never_sent():
    """While an answer is held nothing has gone to the client that could be kept alive."""
    why = "has no effect without commit: headers"
    early = LOCAL[:-2] + ", keepalive: 15s, commit: headers}\n"
    late = LOCAL[:-2] + ", keepalive: 15s}\n"
    rule = "rules: [{name: r, to: up/x, %s}]"

    assert parse(late, "r.yaml", {}).notices == (f"keepalive of provider up {why}",)
    assert parse(early, "r.yaml", {}).notices == ()
    assert parse(late + rule % "commit: headers", "r.yaml", {}).notices == ()
    assert parse(LOCAL + rule % "keepalive: 9s", "r.yaml", {}).notices == (
        f"keepalive of rule r {why}",
    )
    assert parse(early + rule % "keepalive: 9s", "r.yaml", {}).notices == ()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.0.1", "::1", "localhost", "unix:/run/r.sock"])
def test_loopback_needs_no_key(host):
    assert parse(f"server: {{host: '{host}'}}", None, {}).server.host == host


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.4", "myhost"])
def test_a_random_key_is_enough_elsewhere(host):
    text = f"server: {{host: '{host}'}}\nauth: {{master_key: b4d2f9a07c31e85b4d2f}}"
    assert parse(text, None, {}).server.host == host


@pytest.mark.parametrize(
    "key", ["sk-1234567890abcdef", "Password12345678", "secret-test-admin", "aaaaaaaaaaaaaaaaaaaa"]
)
def test_well_known_keys(key):
    server = Server(host="0.0.0.0")
    ((setting, why),) = problems(server, Auth(Secret("b4d2f9a07c31e85b4d2f"), Secret(key)), "x")
    assert setting == "auth.management_key" and why.startswith("is well known")


@pytest.mark.parametrize("environ", [{}, {"OPENAI_API_KEY": "sk-x"}])
def test_the_reference_starts_as_it_stands(environ):
    config = load(REFERENCE, environ)
    assert list(config.providers) == (["openai"] if environ else []) + ["echo"]
    assert all(re.match(r"provider \w+ is off: ", notice) for notice in config.notices)
    unchanged = parse("", None, environ)
    for name in "server auth store timeouts auto retries ban responses limits traces log".split():
        assert getattr(config, name) == getattr(unchanged, name)


def test_the_reference_names_every_setting(monkeypatch):
    asked = set()
    at = Section.at

    def record(self, name):
        asked.add(name)
        return at(self, name)

    monkeypatch.setattr(Section, "at", record)
    parse(DESIGN, None, KEYS)
    text = REFERENCE.read_text()
    assert {name for name in asked if not re.search(rf"\b{name}\b", text)} == set()
    assert len(asked) > 80


def test_the_references_examples_load(tmp_path, monkeypatch):
    """What is commented out there is right, too."""
    for name in ("ca.pem", "client.pem", "client.key", "key.json"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    text = REFERENCE.read_text().replace("rules: []", "rules:").replace("aliases: {}", "aliases:")
    text = re.sub(r"(?m)^  # (?= *([\w-]+:( |$)|- \{))", "  ", text)
    text = re.sub(r"(?m)^#(?=  )", "", text)
    config = load_text(text, KEYS)
    assert len(config.providers) == 12 and len(config.rules) == 2 and config.aliases["fast"]
    assert config.providers["example"].keepalive == 15.0


def load_text(text, environ):
    try:
        return parse(text, "r.yaml", environ)
    except ConfigError as error:
        pytest.fail("\n".join(error.findings))


@pytest.mark.parametrize(
    ("said", "attempts", "statuses"),
    [
        ("2", 2, None),
        ("{attempts: 2}", 2, None),
        ("{statuses: [500]}", None, frozenset([500])),
        ("{attempts: 4, statuses: [429, 503]}", 4, frozenset([429, 503])),
    ],
)
def test_retries_of_a_rule(said, attempts, statuses):
    """As at the top, but for the budget, which is everybody's; or attempts alone."""
    text = f"{LOCAL}rules: [{{name: r, match: {{model: x}}, to: [up/m], retries: {said}}}]"
    (rule,) = parse(text, "f", {}).rules
    assert (rule.retries, rule.statuses) == (attempts, statuses)


def test_a_rule_that_names_a_provider_with_a_mistake():
    """Both are told, and nothing else happens."""
    text = """providers: {up: {dialect: openai, base_url: nonsense, models: [m]}}
rules: [{name: r, match: {model: x}, to: [up/m], keepalive: 5s}]
"""
    with pytest.raises(ConfigError) as caught:
        parse(text, "f", {})
    assert ["base_url" in each for each in caught.value.findings] == [True]

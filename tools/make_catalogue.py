"""Make routeur/data/catalogue.json from the catalogue of models.dev.

    python tools/make_catalogue.py ../shared/catalog/models.dev.json

One line per provider. What the data does not say is left out: it is unknown, never 0.
"""

from __future__ import annotations

import json
import re
import sys
from collections import defaultdict
from collections.abc import Mapping
from math import exp
from pathlib import Path
from statistics import mean, pstdev
from typing import Any

TARGET = Path(__file__).parents[1] / "routeur" / "data" / "catalogue.json"

ABOUT = {
    "source": "https://github.com/anomalyco/models.dev",
    "licence": "MIT, Copyright (c) 2025 models.dev",
    "commit": "f3fc692299671838c7c65fd8126bf84d81a2e817",
    "made_by": "tools/make_catalogue.py",
    "price": "USD per million tokens; `over`: of prompts of more tokens; `services`: other speeds",
    "context": "tokens in and out; `input`: tokens in, where that is less; `output`: tokens out",
    "quality": "0 to 1, from the benchmarks that the data has: most of them of programming",
}

# The names that prices go by, with those of some providers' files.
BUCKETS = {
    "input": "input",
    "cache_read": "cache_read",
    "cache_input": "cache_read",
    "cached_input": "cache_read",
    "cache_write": "cache_write",
    "cached_write": "cache_write",
    "output": "output",
    "reasoning": "reasoning",
    "input_audio": "audio_in",
    "output_audio": "audio_out",
    "image": "image_out",
}
BY_REQUEST = frozenset(["request", "citation"])  # no price of tokens says what such a model costs

GOOGLE = frozenset(["google", "google-vertex"])
# Anthropic's price of what stays in the cache for an hour, and of what stays for five minutes, in
# prices of input: platform.claude.com/docs/en/build-with-claude/prompt-caching
FIVE_MINUTES, AN_HOUR = 1.25, 2.0

# Of these Anthropic takes longer prompts where a header asks for them, at other prices:
# platform.claude.com/docs/en/about-claude/pricing
LONG = re.compile(r"(?:\w+\.)*claude-sonnet-4(?:-0|-5)?(?:[-@]20\d{6})?(?:-v1:0)?")
LONG_AT = frozenset(["anthropic", "amazon-bedrock", "google-vertex", "google-vertex-anthropic"])
LONG_PROMPT, LONG_INPUT, LONG_OUTPUT = 200_000, 2.0, 1.5

ABILITIES = {"image": "image", "pdf": "file", "audio": "audio"}  # from modalities of input
UNLIMITED = 99_999_999  # of who does not say
OUR_NAMES = frozenset(["auto"])  # of a request they mean the rule table, not a model

COMPARED = 8  # models that a benchmark must have to say something
ROUNDS = 500


def row(provider: str, name: str, entry: dict[str, Any], quality: float | None) -> dict[str, Any]:
    """What the file says of one model."""
    limit = entry["limit"]
    room = limit["context"]
    made = {
        "price": price(provider, name, entry),
        "context": room,
        "input": limit["input"] if 0 < limit.get("input", 0) < room else 0,
        "output": limit["output"],
        "has": " ".join(abilities(entry)),
        "quality": quality,
        "released": entry["release_date"] if entry["release_date"] > "2000" else None,
    }
    unknown: Any = (None, {}, 0, UNLIMITED)  # no model has a context of 0
    return {key: value for key, value in made.items() if value not in unknown}


def abilities(entry: dict[str, Any]) -> list[str]:
    """What it takes. Whether it keeps to a schema is often left out: then it may."""
    taken = entry["modalities"]["input"]
    found = [word for each, word in ABILITIES.items() if each in taken]
    found += ["tools"] * entry["tool_call"]
    found += ["json"] * entry.get("structured_output", True)
    return found + ["reasoning"] * entry["reasoning"]


def price(provider: str, name: str, entry: dict[str, Any]) -> dict[str, Any]:
    """All that is known of what its tokens cost; nothing where they are not all that costs."""
    cost = entry.get("cost", {})
    if not cost or BY_REQUEST & cost.keys():
        return {}
    made = complete(buckets(cost), provider, name, entry["modalities"])
    over = {
        str(tier["tier"]["size"]): complete(buckets(tier), provider, name, entry["modalities"])
        for tier in cost.get("tiers", ())
    }
    if provider in LONG_AT and LONG.fullmatch(name) and not over:
        over = {str(LONG_PROMPT): long(made)}
    services = {
        speed(mode): complete(buckets(mode["cost"]), provider, name, entry["modalities"])
        for mode in entry.get("experimental", {}).get("modes", {}).values()
    }
    return made | ({"over": over} if over else {}) | ({"services": services} if services else {})


def long(made: dict[str, float]) -> dict[str, float]:
    """The price of a long prompt."""
    return {
        bucket: tidy(each * (LONG_OUTPUT if bucket == "output" else LONG_INPUT))
        for bucket, each in made.items()
    }


def buckets(cost: dict[str, Any]) -> dict[str, float]:
    """What the data says; nobody reads from a cache for nothing where the rest is paid for."""
    made = {BUCKETS[key]: tidy(value) for key, value in cost.items() if key in BUCKETS}
    if made.get("cache_read") == 0 and made.get("input"):
        del made["cache_read"]
    return made


def complete(
    made: dict[str, float], provider: str, name: str, modalities: dict[str, list[str]]
) -> dict[str, float]:
    """With the prices that follow from others."""
    went_in, came_out = modalities["input"], modalities["output"]
    if "claude" in name and made.get("cache_write") == tidy(made["input"] * FIVE_MINUTES):
        made["cache_write_1h"] = tidy(made["input"] * AN_HOUR)
    if "image" in went_in and ("image" not in came_out or provider in GOOGLE):
        made.setdefault("image_in", made["input"])  # seen as tokens like others
    # Says of models that draw or speak what that costs; hearing has a price of its own but at Pro.
    if provider in GOOGLE:
        if "audio" in went_in and "-pro" in name:
            made.setdefault("audio_in", made["input"])
        for each in {"image", "audio"} & {*came_out}:
            made.setdefault(f"{each}_out", made["output"])
    return made


def speed(mode: dict[str, Any]) -> str:
    """The word by which a request asks for it."""
    body = mode["provider"]["body"]
    return str(body.get("service_tier") or body["speed"])


def tidy(value: float) -> float:
    """Without the noise of binary fractions, and whole numbers as such."""
    value = round(value, 9)
    return int(value) if value == int(value) else value


def qualities(entries: Mapping[str, Any]) -> dict[str, float]:
    """Quality by the model's name without vendor and date: the same wherever it runs."""
    scores: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for _, entry in sorted(entries.items()):
        for name, model in sorted(entry["models"].items()):
            for each in model.get("benchmarks", ()):
                scores[f"{each['name']}, {each.get('metric')}"][bare(name)].append(each["score"])
    tables = [
        standard({name: mean(each) for name, each in table.items()})
        for table in scores.values()
        if len(table) >= COMPARED
    ]
    return {name: round(1 / (1 + exp(-skill)), 2) for name, skill in skills(tables).items()}


def standard(table: dict[str, float]) -> dict[str, float]:
    """A benchmark's scores with a mean of 0 and a deviation of 1."""
    middle, spread = mean(table.values()), pstdev(table.values())
    return {name: (score - middle) / spread for name, score in table.items()}


def skills(tables: list[dict[str, float]]) -> dict[str, float]:
    """What models can do, with a mean of about 0, as each benchmark only has models of its time.

    A score is the model's skill plus the benchmark's ease, by least squares; models that several
    benchmarks have tie them together.
    """
    found: dict[str, float] = defaultdict(float)
    for _ in range(ROUNDS):
        parts: dict[str, list[float]] = defaultdict(list)
        for table in tables:
            ease = mean(score - found[name] for name, score in table.items())
            for name, score in table.items():
                parts[name].append(score - ease)
        found.update({name: sum(each) / (len(each) + 0.05) for name, each in parts.items()})
    return found


def bare(name: str) -> str:
    """`anthropic.claude-sonnet-4-5-20250929-v1:0` as `claude-sonnet-4-5`."""
    name = name.lower().rpartition("/")[2].partition(":")[0]
    name = re.sub(r"^(?:[a-z]{2,6}\.)?(?:anthropic|deepseek|meta|moonshotai|zai)\.", "", name)
    name = re.sub(r"(?<=\d)\.(?=\d)", "-", name)
    return re.sub(r"[-@](?:20\d{6}|20\d\d-\d\d-\d\d|default)(?:-v\d)?$|-v1$", "", name)


def main(catalogue: Path) -> None:
    entries = json.loads(catalogue.read_bytes())
    quality = qualities(entries)
    lines = []
    for provider, entry in sorted(entries.items()):
        rows = {
            name: row(provider, name, model, quality.get(bare(name)))
            for name, model in sorted(entry["models"].items())
            if name not in OUR_NAMES
        }
        lines.append(f"{dump(provider)}:{dump(rows)}")
    TARGET.write_text(
        f'{{"about":{json.dumps(ABOUT)},\n"providers":{{\n' + ",\n".join(lines) + "\n}}\n",
        encoding="utf-8",
    )
    print(f"{len(lines)} providers -> {TARGET.relative_to(Path.cwd())}")


def dump(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))

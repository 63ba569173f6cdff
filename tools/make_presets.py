"""Make routeur/data/presets.json from the catalogue of models.dev.

    python tools/make_presets.py ../shared/catalog/models.dev.json

A vendor that the catalogue lacks, or has without an address, is a row in the tables below.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

TARGET = Path(__file__).parents[1] / "routeur" / "data" / "presets.json"

ABOUT = {
    "source": "https://github.com/anomalyco/models.dev",
    "licence": "MIT, Copyright (c) 2025 models.dev",
    "commit": "f3fc692299671838c7c65fd8126bf84d81a2e817",
    "made_by": "tools/make_presets.py",
    "order": "vendors, best known first; then who hosts and resells, by name",
    "env": "alternatives; of one all must be set, and the last is the key",
}

DIALECTS = {"@ai-sdk/anthropic": "anthropic", "@ai-sdk/google": "gemini"}  # others: openai

# What the vendor's own SDK takes, where the catalogue leaves it to a package of its own.
BASE_URLS = {
    "aihubmix": "https://aihubmix.com/v1",
    "anthropic": "https://api.anthropic.com",
    "azure": "https://${AZURE_RESOURCE_NAME}.openai.azure.com/openai/v1",
    "cerebras": "https://api.cerebras.ai/v1",
    "cohere": "https://api.cohere.ai/compatibility/v1",
    "deepinfra": "https://api.deepinfra.com/v1/openai",
    "google": "https://generativelanguage.googleapis.com",
    "groq": "https://api.groq.com/openai/v1",
    "mistral": "https://api.mistral.ai/v1",
    "openai": "https://api.openai.com/v1",
    "perplexity": "https://api.perplexity.ai",
    "togetherai": "https://api.together.xyz/v1",
    "v0": "https://api.v0.dev/v1",
    "venice": "https://api.venice.ai/api/v1",
    "vercel": "https://ai-gateway.vercel.sh/v1",
    "xai": "https://api.x.ai/v1",
}

# Why a provider of the catalogue is no preset.
SKIP = {
    "amazon-bedrock": "a dialect of its own",
    "atomic-chat": "local",
    "azure-cognitive-services": "deployments of the older kind; azure covers the newer",
    "cloudflare-ai-gateway": "a gateway with paths of its own",
    "github-copilot": "its token is exchanged for a short-lived one first",
    "gitlab": "a gateway with paths of its own",
    "google-vertex": "addresses of its own",
    "google-vertex-anthropic": "addresses of its own",
    "lmstudio": "local",
    "merge-gateway": "a gateway with paths of its own",
    "privatemode-ai": "local",
    "sap-ai-core": "its key is a file",
}

# They make what they serve, best known first: asked before resellers for a model that both list,
# and for names that nobody lists.
VENDORS = """
    openai anthropic google mistral deepseek xai cohere perplexity moonshotai minimax zhipuai
    alibaba groq cerebras alibaba-cn bailing inception llama minimax-cn moonshotai-cn morph nova
    poolside sakana sarvam stepfun upstage v0 xiaomi zai
""".split()

# Their variables are set for other purposes too, or several presets share one and another is meant.
NOT_FROM_ENVIRONMENT = frozenset(
    """
    alibaba-cn alibaba-coding-plan-cn alibaba-token-plan-cn azure cloudflare-workers-ai databricks
    digitalocean github-models helicone huggingface inference kimi-for-coding llama minimax-cn
    minimax-cn-coding-plan minimax-coding-plan moonshotai-cn nova opencode opencode-go
    perplexity-agent stepfun-ai vultr wandb xiaomi-token-plan-ams xiaomi-token-plan-cn
    xiaomi-token-plan-sgp zai zai-coding-plan zhipuai-coding-plan
    """.split()
)

ENV = {"google": [["GEMINI_API_KEY"], ["GOOGLE_API_KEY"], ["GOOGLE_GENERATIVE_AI_API_KEY"]]}

# Known to serve /responses, beside those whose SDK package is OpenAI's.
RESPONSES = frozenset("azure fireworks-ai groq huggingface openrouter vercel xai".split())

# Take files as data URLs only, not as bare base64.
DATA_URL_FILES = frozenset(["openai"])


# What `auto` asks of a vendor as long as nobody has said which models it may choose from: the one
# that the vendor itself recommends to begin with.
DEFAULTS = {
    "anthropic": "claude-sonnet-5",
    "cerebras": "gpt-oss-120b",
    "cohere": "command-a-plus-05-2026",
    "deepseek": "deepseek-v4-flash",
    "google": "gemini-3.5-flash",
    "groq": "llama-3.3-70b-versatile",
    "minimax": "MiniMax-M3",
    "mistral": "mistral-medium-latest",
    "moonshotai": "kimi-k2.6",
    "openai": "gpt-5.4-mini",
    "openrouter": "anthropic/claude-sonnet-5",
    "perplexity": "sonar",
    "togetherai": "openai/gpt-oss-120b",
    "xai": "grok-4.3",
    "zai": "glm-5.2",
}


# Of a request they mean the rule table, not a model.
OUR_NAMES = frozenset(["auto"])


def preset(name: str, entry: dict[str, Any]) -> dict[str, Any]:
    """A row of the file, from an entry of the catalogue."""
    dialect = DIALECTS.get(entry["npm"], "openai")
    made: dict[str, Any] = {
        "title": entry["name"],
        "dialect": dialect,
        "base_url": base_url(BASE_URLS.get(name) or entry["api"], dialect),
        "env": ENV.get(name) or [entry["env"]],
        "zero_config": name not in NOT_FROM_ENVIRONMENT,
        "responses": name in RESPONSES or entry["npm"] == "@ai-sdk/openai",
    }
    if name in DATA_URL_FILES:
        made["data_url_files"] = True
    if name in DEFAULTS:
        assert DEFAULTS[name] in entry["models"], name
        made["default"] = DEFAULTS[name]
    made["models"] = sorted(entry["models"].keys() - OUR_NAMES)
    return made


def base_url(url: str, dialect: str) -> str:
    """Without what the dialect's own paths repeat."""
    url = url.rstrip("/").removesuffix("/chat/completions")
    return re.sub("/v1$", "", url) if dialect == "anthropic" else url


def order(name: str) -> tuple[int, str]:
    return VENDORS.index(name) if name in VENDORS else len(VENDORS), name


def main(catalogue: Path) -> None:
    entries = json.loads(catalogue.read_bytes())
    names = sorted(entries.keys() - SKIP.keys(), key=order)
    rows = [f"{json.dumps(name)}: {dump(preset(name, entries[name]))}" for name in names]
    TARGET.write_text(
        f'{{"about": {dump(ABOUT)},\n"presets": {{\n' + ",\n".join(rows) + "\n}}\n",
        encoding="utf-8",
    )
    print(f"{len(rows)} presets -> {TARGET.relative_to(Path.cwd())}")


def dump(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""LiteLLM's files become files of routeur's that do the same, and say what they do not."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path

import pytest
import yaml

from routeur.__main__ import main
from routeur.config import Config, parse
from routeur.errors import ConfigError, NotFound
from routeur.explain import Question, answer
from routeur.litellm import imported

EXAMPLES = Path(__file__).with_name("litellm")


def settings(text: str) -> Config:
    """What a text says where all its variables are set."""
    variables = {name: "7" if "PORT" in name else "sk-of-a-test" for name in _variables(text)}
    variables |= {
        "AZURE_API_KEY": "k",
        "OPENAI_API_KEY": "k",
        "GROQ_API_KEY": "k",
        "MISTRAL_API_KEY": "k",
    }
    return parse(text, "router.yaml", variables | {"FIREWORKS_API_KEY": "k", "GEMINI_API_KEY": "k"})


def _variables(text: str) -> set[str]:
    return set(re.findall(r"\$\{(\w+)(?!\w*:-)", text))


def take(path: Path, text: str) -> tuple[Config, str]:
    """The configuration made of a text, and what was said of it."""
    file = path / "config.yaml"
    file.write_text(text)
    made, findings, _ = imported(file)
    return settings(made), "\n".join(findings)


def one(path: Path, params: str, more: str = "") -> tuple[Config, str]:
    return take(path, f"model_list:\n  - {{model_name: m, litellm_params: {{{params}}}}}\n{more}")


def plan(config: Config, model: str) -> list[str]:
    """Who is asked, in this order."""
    asked = Question(model, [], None, "/v1/chat/completions")
    targets: list[str] = json.loads(answer(config, asked, as_json=True))["routeur"]["targets"]
    return targets


# ── whole files


@pytest.mark.parametrize("name", ["small", "team", "patterns"])
def test_example_passes_the_check(name: str) -> None:
    text, _, _ = imported(EXAMPLES / f"{name}.yaml")

    config = settings(text)

    assert not config.off.keys() - {"echo", "deepseek", "xai", "openai-2"}
    assert yaml.safe_load(text)["server"]["host"] == "127.0.0.1"  # YAML to everybody else, too
    assert all(len(line) <= 110 for line in text.splitlines())


def test_a_small_one_is_short() -> None:
    text, findings, count = imported(EXAMPLES / "small.yaml")

    assert '  openai: {preset: openai, api_key: "${OPENAI_API_KEY}", models: [gpt-4o]}\n' in text
    assert "  anthropic:\n    preset: anthropic\n    api_key:" in text
    assert count == "deployments taken over: 4 of 4; providers: 4, aliases: 0, rules: 0"
    assert any("routeur keys create" in finding for finding in findings)


def test_a_team() -> None:
    text, findings, count = imported(EXAMPLES / "team.yaml")
    config = settings(text)
    azure = config.providers["azure"]

    assert [(c.name, c.weight, c.rpm, c.tpm) for c in azure.credentials] == [
        ("azure.acme-east", 3, 900, 150000),
        ("azure.acme-west", 1, 300, 50000),
    ]
    assert azure.api_version == "2024-10-21"
    assert (
        plan(config, "gpt-4")
        == plan(config, "gpt-4o")
        == [
            "azure/gpt-4o-only",
            "bedrock/backup",
        ]
    )
    mini_rule = next(rule for rule in config.rules if rule.name == "mini")
    assert [(str(target), weight) for target, weight in mini_rule.split] == [
        ("azure-acme-eu/mini-only", 3_000_000),
        ("openai/mini-only", 1_000_000),
        ("azure/gpt-4o-only", 1),
    ]
    assert config.providers["azure-acme-eu"].timeouts.idle == 7.5
    mini = config.providers["azure-acme-eu"].models["mini-only"]
    assert mini.id == "mini-eu" and mini.price and mini.price.output == 0.6
    pro = config.providers["vertex_ai"].models["pro-only"].price
    assert pro and (pro.input, pro.output, pro.over[200000].input) == (1.25, 10, 2.5)
    local = config.providers["hosted_vllm"].models["local-only"]
    assert "image" not in (local.has or ()) and "tools" in (local.has or ())
    assert config.ban.after == 5 and config.ban.seconds == 45 and config.retries.attempts == 7
    assert config.store == "redis://:sk-of-a-test@sk-of-a-test:6379/0"
    assert config.log.format == "json" and config.log.level == "debug"
    assert config.server.max_body == 20_000_000 and config.traces.keep == 30 * 86400
    assert config.timeouts.first_byte == 60
    assert count.startswith("deployments taken over: 8 of 9; ")
    said = "\n".join(findings)
    for path in (
        "model_list[3].litellm_params.api_key: a literal key",
        "model_list[3].litellm_params.temperature: ",
        "model_list[6].litellm_params.input_cost_per_second: ",
        'model_list[8].litellm_params.model: "sagemaker/',
        "router_settings.fallbacks[0].gpt-4o: nobody is called",
        "router_settings.model_group_alias.small.hidden: ",
        "litellm_settings.cache: ",
        "litellm_settings.success_callback: langfuse: ",
        "general_settings.database_url: virtual keys",
        "general_settings.proxy_batch_writ_at: unknown",
        "environment_variables: ",
        "guardrails: ",
        "mcp_servers: ",
    ):
        assert path in said
    assert "sk-lf-never-to-be-seen" not in text + said


def test_patterns_and_included_files() -> None:
    text, findings, _ = imported(EXAMPLES / "patterns.yaml")
    config = settings(text)

    assert plan(config, "openai/gpt-5-nano")[0] == "openai/gpt-5-nano"
    assert plan(config, "anthropic/claude-x") == ["anthropic/claude-x"]
    assert plan(config, "team/qwen/thing") == ["team/qwen/thing"]
    tomorrow = plan(config, "gpt-4.1-of-tomorrow")
    assert tomorrow == [f"openai-shared{n}/gpt-4.1-of-tomorrow" for n in ("", "-2")]
    assert plan(config, "gpt-4o")[0] == "openai-shared/gpt-4o"
    assert plan(config, "auto") == ["mistral/auto-only", "openai/gpt-4o"]
    assert plan(config, "llama")[:2] == ["ollama/llama-only", "fireworks_ai/llama-only"]
    chat = config.providers["openai-2"]
    assert [c.weight for c in chat.credentials] == [1, 2]
    said = "\n".join(findings)
    assert "model_list[4].model_name: left out" in said
    assert "more.yaml: model_list[4].litellm_params.tags: " in said
    assert "more.yaml: model_list[5]: is more.yaml: model_list[4] again" in said


# ── single settings


@pytest.mark.parametrize(
    ("params", "provider", "url", "id"),
    [
        ("model: gpt-4o", "openai", "https://api.openai.com/v1", "gpt-4o"),
        ("model: o3-mini", "openai", "https://api.openai.com/v1", "o3-mini"),
        ("model: claude-x, api_key: k", "anthropic", "https://api.anthropic.com", "claude-x"),
        ("model: openai/x/y, api_base: 'http://gpu:8000/v1/'", "gpu", "http://gpu:8000/v1", "x/y"),
        (
            "model: custom/x, api_base: 'http://10.0.0.7:80'",
            "server-10-0-0-7-80",
            "http://10.0.0.7:80",
            "custom/x",
        ),
        ("model: x, custom_llm_provider: groq", "groq", "https://api.groq.com/openai/v1", "x"),
        ("model: sambanova/x", "sambanova", "https://api.sambanova.ai/v1", "x"),
        ("model: ollama/x", "ollama", "http://127.0.0.1:11434/v1", "x"),
        (
            "model: azure/gpt5_series/d, api_key: k, api_base: 'https://a.b/openai/deployments/d'",
            "azure",
            "https://a.b",
            "d",
        ),
        (
            "model: azure/d, api_key: k, api_base: 'https://a.b/openai/v1/'",
            "azure",
            "https://a.b/openai/v1",
            "d",
        ),
        (
            "model: azure_ai/d, api_base: 'https://a.services.ai.azure.com/models'",
            "azure_ai",
            "https://a.services.ai.azure.com/openai/v1",
            "d",
        ),
        (
            "model: azure_ai/claude-x, api_base: 'https://a.services.ai.azure.com'",
            "azure_ai",
            "https://a.services.ai.azure.com/anthropic",
            "claude-x",
        ),
        (
            "model: anthropic/x, api_key: k, api_base: 'http://h:1/v1/messages'",
            "anthropic",
            "http://h:1",
            "x",
        ),
        (
            "model: bedrock/converse/us.a.b, api_key: k, aws_region_name: eu-west-1",
            "bedrock",
            "https://bedrock-runtime.eu-west-1.amazonaws.com",
            "us.a.b",
        ),
        (
            "model: vertex_ai/claude-x@1, vertex_project: p",
            "vertex_ai",
            "https://us-central1-aiplatform.googleapis.com",
            "claude-x@1",
        ),
        (
            "model: fireworks_ai/x",
            "fireworks_ai",
            "https://api.fireworks.ai/inference/v1",
            "accounts/fireworks/models/x",
        ),
    ],
)
def test_where_a_model_is(tmp_path: Path, params: str, provider: str, url: str, id: str) -> None:
    config, _ = one(tmp_path, params)

    found = config.providers[provider]

    assert found.credentials[0].base_url == url
    assert found.models["m"].id == id


@pytest.mark.parametrize(
    "params",
    [
        "model: mystery",
        "model: mystery/x",
        "model: openai/x, api_base: your-address",
        "model: openai_like/x, api_base: 7",
        "model: bedrock/amazon.titan-embed-text-v1",
        "model: vertex_ai/meta/llama-3",
        "api_key: k",
    ],
)
def test_what_cannot_be_served_is_said(tmp_path: Path, params: str) -> None:
    with pytest.raises(ConfigError) as error:
        one(tmp_path, params)

    (said,) = error.value.findings
    assert "none of 1 deployments could be taken over: model_list[0].litellm_params." in said


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("weight: many", "expected a number"),
        ("rpm: os.environ/RPM", "found ${RPM}; set it by hand"),
        ("api_key: [k]", "expected text, found a list"),
        ("api_key: os.environ/NOT A NAME", "expected os.environ/NAME"),
        ("ssl_verify: false", "always verified"),
        ("max_parallel_requests: 7", "rpm and tpm"),
        ("headers: 7", "expected settings, found a number"),
        ("litellm_credential_name: nobody", 'credential_list has no "nobody"'),
        ("seed: 12", "not sent"),
        ("input_cost_per_token: 0.1", "output_cost_per_token: is unknown here then"),
    ],
)
def test_odd_settings_are_findings(tmp_path: Path, setting: str, says: str) -> None:
    config, said = one(tmp_path, f"model: openai/gpt-4o, {setting}")

    assert says in said
    assert plan(config, "m") == ["openai/m"]


def test_shares_are_split(tmp_path: Path) -> None:
    text = """
model_list:
  - {model_name: m, litellm_params: {model: azure/a, api_base: "https://a", weight: 0.5}}
  - {model_name: m, litellm_params: {model: openai/gpt-4o, weight: 1.5}}
router_settings: {model_group_alias: {n: m}}
"""
    config, _ = take(tmp_path, text)

    assert [(str(t.provider), w) for t, w in config.rules[0].split] == [("azure", 1), ("openai", 3)]
    assert sorted(plan(config, "n")) == ["azure/m-only", "openai/m-only"]


@pytest.mark.parametrize(
    ("strategy", "sort"),
    [
        ("latency-based-routing", "latency"),
        ("cost-based-routing", "price"),
        ("least-busy", "throughput"),
    ],
)
def test_strategies(tmp_path: Path, strategy: str, sort: str) -> None:
    text = f"""
model_list:
  - {{model_name: m, litellm_params: {{model: openai/gpt-4o, api_key: os.environ/KEY_A}}}}
  - {{model_name: m, litellm_params: {{model: openai/gpt-4o, api_key: os.environ/KEY_B}}}}
  - {{model_name: m, litellm_params: {{model: groq/x}}}}
router_settings: {{routing_strategy: {strategy}}}
"""
    config, said = take(tmp_path, text)

    assert config.rules[0].sort == sort
    assert f"routing_strategy: {strategy} became the nearest" in said
    assert len(config.providers) == (3 if sort == "latency" else 2)


def test_a_fallback_stays_behind_whatever_the_strategy(tmp_path: Path) -> None:
    text = """
model_list:
  - {model_name: m, litellm_params: {model: openai/gpt-4o, api_key: os.environ/KEY_A}}
  - {model_name: m, litellm_params: {model: openai/gpt-4o, api_key: os.environ/KEY_B}}
  - {model_name: n, litellm_params: {model: groq/x}}
router_settings: {routing_strategy: least-busy, fallbacks: [{m: [n]}], model_group_alias: {o: p}}
"""
    config, said = take(tmp_path, text)

    assert config.aliases["m"][0].provider == "openai" and not config.rules
    assert plan(config, "m") == ["openai/m-only", "groq/n"]
    assert 'router_settings.model_group_alias.o: nobody is called "p"' in said


def test_limits_of_several_models_of_an_account(tmp_path: Path) -> None:
    text = """
model_list:
  - {model_name: a, litellm_params: {model: openai/gpt-4o, rpm: 10}}
  - {model_name: b, litellm_params: {model: openai/gpt-4o-mini}, tpm: 500}
"""
    config, _ = take(tmp_path, text)

    models = config.providers["openai"].credentials[0].models
    assert (models["a"].rpm, models["b"].tpm) == (10, 500)


def test_names_that_would_lead_elsewhere_become_aliases(tmp_path: Path) -> None:
    text = """
model_list:
  - {model_name: "gpt-4*", litellm_params: {model: "openai/gpt-4*"}}
  - {model_name: gpt-4o, litellm_params: {model: groq/x}}
  - {model_name: openai/gpt-4.1, litellm_params: {model: groq/y}}
"""
    config, _ = take(tmp_path, text)

    assert plan(config, "gpt-4o") == ["groq/gpt-4o"]
    assert plan(config, "openai/gpt-4.1") == ["groq/openai/gpt-4.1-only"]
    assert plan(config, "gpt-4-turbo") == ["openai/gpt-4-turbo"]


def test_any_name_goes_where_it_is_listed(tmp_path: Path) -> None:
    text = """
model_list:
  - {model_name: "*", litellm_params: {model: "*"}}
  - {model_name: "anthropic/*", litellm_params: {model: "anthropic/*"}}
  - {model_name: gpt-4o, litellm_params: {model: groq/x}}
"""
    config, _ = take(tmp_path, text)

    assert plan(config, "claude-haiku-4-5") == ["anthropic/claude-haiku-4-5"]
    assert plan(config, "gpt-4o") == ["groq/gpt-4o"]
    assert plan(config, "gpt-4o-mini") == ["openai/gpt-4o-mini"]
    assert plan(config, "anthropic/claude-new") == ["anthropic/claude-new"]


WILDCARDS = """
model_list:
  - {model_name: openai/*, litellm_params: {model: openai/*, api_key: os.environ/OPENAI_API_KEY}}
  - {model_name: anthropic/*, litellm_params: {model: anthropic/*}}
"""
CATCH_ALL = """  - {model_name: "*", litellm_params: {model: "*"}}
"""
OWN = """  - {model_name: gpu/*, litellm_params: {model: hosted_vllm/*, api_base: "http://gpu:8000/v1"}}
"""


@pytest.mark.parametrize(
    ("more", "model", "goes_to"),
    [
        ("", "gpt-4o", "openai/gpt-4o"),
        ("", "claude-sonnet-4-5", "anthropic/claude-sonnet-4-5"),
        ("", "claude-of-tomorrow", "anthropic/claude-of-tomorrow"),
        ("", "openai/gpt-4o", "openai/gpt-4o"),
        ("", "anthropic/claude-x", "anthropic/claude-x"),
        ("", "mistral/mistral-large-latest", ""),
        ("", "mystery", ""),
        (CATCH_ALL, "mistral/mistral-large-latest", "mistral/mistral-large-latest"),
        (CATCH_ALL, "mistral-large-latest", "mistral/mistral-large-latest"),
        (CATCH_ALL, "deepseek/deepseek-chat", ""),  # its key is not set
        (CATCH_ALL, "openrouter/x-ai/grok-4", ""),
        (OWN, "gpu/qwen3", "gpu/qwen3"),
        (OWN, "claude-sonnet-4-5", "anthropic/claude-sonnet-4-5"),
        (OWN, "mystery", "gpu/mystery"),
    ],
)
def test_wildcards_lead_to_nobody_else(tmp_path: Path, more: str, model: str, goes_to: str) -> None:
    (tmp_path / "config.yaml").write_text(WILDCARDS + more)
    text, findings, _ = imported(tmp_path / "config.yaml")
    keys = dict.fromkeys(["OPENAI_API_KEY", "ANTHROPIC_API_KEY", "MISTRAL_API_KEY"], "k")
    config = parse(text, "x", keys)

    assert "anthropic gets claude-*, with anthropic/ before them or without" in "\n".join(findings)
    if goes_to:
        assert plan(config, model) == [goes_to]
    else:
        with pytest.raises(NotFound):
            plan(config, model)


def test_without_a_key_nobody_else_is_asked(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(WILDCARDS)
    text, _, _ = imported(tmp_path / "config.yaml")
    config = parse(text, "x", {"OPENAI_API_KEY": "k"})

    for model in ("claude-sonnet-4-5", "anthropic/claude-x"):
        with pytest.raises(NotFound):
            plan(config, model)


def test_only_one_takes_any_name(tmp_path: Path) -> None:
    text = (
        WILDCARDS
        + OWN
        + OWN.replace("gpu", "cpu")
        + OWN.replace("gpu/*", '"*"').replace("//gpu", "//all")
    )
    config, said = take(tmp_path, text)

    assert [name for name, each in config.providers.items() if each.any_name] == ["hosted_vllm-all"]
    assert "all names that no other provider lists go to hosted_vllm" in said
    assert "gpu gets no names: only one provider may take any name here" in said
    with pytest.raises(NotFound):
        plan(config, "cpu/qwen3")


def test_a_pattern_of_the_file_goes_before_a_wildcard(tmp_path: Path) -> None:
    text = (
        WILDCARDS
        + '  - {model_name: "gpt-4o*", litellm_params: {model: "azure/gpt-4o*", api_base: "https://a"}}'
    )
    config, _ = take(tmp_path, text)

    assert plan(config, "gpt-4o-mini") == ["azure/gpt-4o-mini"]
    assert plan(config, "gpt-4.1") == plan(config, "openai/gpt-4.1") == ["openai/gpt-4.1"]
    assert plan(config, "gpt-5") == ["openai/gpt-5"]


def test_a_reseller_gets_the_names_that_are_known(tmp_path: Path) -> None:
    text = WILDCARDS + "  - {model_name: openrouter/*, litellm_params: {model: openrouter/*}}"
    config, _ = take(tmp_path, text)

    assert plan(config, "openrouter/openai/gpt-4o") == ["openrouter/openai/gpt-4o"]
    assert plan(config, "openai/gpt-4o") == ["openai/gpt-4o"]
    assert not any(each.any_name for each in config.providers.values())


def test_models_have_other_names_than_aliases_but_the_same_price(tmp_path: Path) -> None:
    text = """
model_list:
  - {model_name: gpt-4o, litellm_params: {model: azure/mine, api_base: "https://a"}}
  - {model_name: claude, litellm_params: {model: anthropic/claude-haiku-4-5}}
litellm_settings: {fallbacks: [{gpt-4o: [claude]}]}
"""
    config, _ = take(tmp_path, text)

    assert plan(config, "gpt-4o") == ["azure/gpt-4o-default", "anthropic/claude"]
    model = config.providers["azure"].model("gpt-4o-default")
    assert model.id == "mine" and model.price and model.price.input == 2.5
    assert not [notice for notice in config.notices if "hides" in notice]


def test_attempts_are_said(tmp_path: Path) -> None:
    more = "litellm_settings: {num_retries: 2, fallbacks: [{m: [m2]}]}"
    config, said = one(tmp_path, "model: openai/gpt-4o", more)

    assert config.retries.attempts == 4
    assert "litellm_settings.num_retries: became retries.attempts: 4, for a whole request: " in said
    assert "1 and 2 retries, and 1 for the longest list of fallbacks" in said


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ("sk-1234", "has 7 characters"),
        ("sk-1234567890-1234567890", "is well known"),
        ("sk-2f6b0e19c47d8a3351", ""),
        ("os.environ/NOT_SET_HERE", ""),
    ],
)
def test_a_master_key_that_would_be_refused(
    folder: Path, capsys: pytest.CaptureFixture[str], key: str, says: str
) -> None:
    with Path("config.yaml").open("a") as file:
        file.write(f"general_settings: {{master_key: {key}}}\n")

    assert main(["import", "litellm", "config.yaml"]) == 0

    said = capsys.readouterr().err
    assert ("starts on 127.0.0.1 only" in said) == bool(says)
    assert f"general_settings.master_key: {says}" in said


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("http://127.0.0.1:8091/v1", "local-8091"),
        ("http://localhost/fail/v1", "local-fail"),
        ("http://[::1]:80", "local-80"),
        ("http://10.0.0.7:8000/v1", "server-10-0-0-7-8000"),
    ],
)
def test_what_a_server_is_called(tmp_path: Path, url: str, name: str) -> None:
    config, _ = one(tmp_path, f"model: openai/x, api_base: '{url}', api_key: k")

    assert list(config.providers) == [name]


def test_a_deployment_may_be_a_fallback_by_its_id(tmp_path: Path) -> None:
    text = """
model_list:
  - {model_name: a, litellm_params: {model: openai/gpt-4o}}
  - {model_name: b, litellm_params: {model: groq/x}, model_info: {id: 17}}
litellm_settings: {fallbacks: [{a: [17]}, {nobody: [a]}, {groq/*: [a]}], num_retries: 0}
"""
    config, said = take(tmp_path, text)

    assert plan(config, "a") == ["openai/a-only", "groq/b"]
    assert config.retries.attempts == 2
    assert "litellm_settings.fallbacks[1].nobody: no model is called so" in said
    assert "litellm_settings.fallbacks[2].groq/*: left out: names of a pattern go" in said


# ── what is no such file


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty"),
        ("# nothing\n", "is empty"),
        ("- a\n", "expected a mapping"),
        ("model_list: [\n", "config.yaml:2: not YAML"),
        ("model_list: !python/object:os.system x\n", "not YAML"),
        ("a: 2024-99-99\n", "not YAML"),
        ("[" * 5000, "not YAML"),
        ("services: {}\n", "is no LiteLLM configuration"),
        ("providers: {openai: {preset: openai}}\n", "a configuration of routeur's already"),
        ("model_list: []\ninclude: gone.yaml\n", "gone.yaml: No such file"),
        ("model_list: 7\n", "model_list: expected a list, found a number"),
        ("model_list: []\n", "model_list has no deployment"),
        ("model_list: [{model_name: a}]\n", "none of 1 deployments could be taken over"),
    ],
)
def test_refused(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "config.yaml").write_text(text)

    with pytest.raises(ConfigError) as error:
        imported(tmp_path / "config.yaml")

    assert len(error.value.findings) == 1 and says in error.value.findings[0]


def test_odd_shapes_are_findings(tmp_path: Path) -> None:
    text = """
model_list: [7, {model_name: a}, {model_name: "x[1]", litellm_params: {model: gpt-4o}},
  {model_name: b, litellm_params: {model: gpt-4o}}]
litellm_settings: [drop_params]
router_settings: {fallbacks: {a: b}, routing_strategy: mine, num_retries: 1, num_retries: 2}
general_settings:
nonsense: 1
"""
    config, said = take(tmp_path, text)

    assert list(config.providers) == ["openai"]
    for part in (
        "model_list[0]: expected a mapping, found a number",
        "model_list[1].litellm_params.model: expected a name",
        "model_list[2].model_name: left out",
        "litellm_settings: expected settings, found a list",
        "router_settings.fallbacks: expected a list, found a mapping",
        'router_settings.routing_strategy: "mine" is unknown here',
        "router_settings.num_retries: stands twice",
        "nonsense: unknown",
    ):
        assert part in said


@pytest.mark.full
def test_a_thousand_deployments(tmp_path: Path) -> None:
    entries = [
        {"model_name": f"m{n % 500}", "litellm_params": {"model": f"azure/d{n}", "rpm": n + 1,
         "api_base": f"https://a{n}.example", "api_key": f"os.environ/KEY_{n}"}}
        for n in range(1000)
    ]  # fmt: skip
    file = tmp_path / "config.yaml"
    file.write_text(json.dumps({"model_list": entries}))
    start = time.perf_counter()

    text, _, count = imported(file)

    assert time.perf_counter() - start < 5
    assert count == "deployments taken over: 1000 of 1000; providers: 1000, aliases: 0, rules: 500"
    assert len(parse(text, "x", {f"KEY_{n}": "k" for n in range(1000)}).rules) == 500


# ── the command


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yaml").write_text(
        "model_list:\n"
        "  - {model_name: gpt-4o, litellm_params: {model: gpt-4o, api_key: os.environ/OWN}}\n"
    )
    monkeypatch.setenv("OWN", "sk-secret-of-the-environment")
    return tmp_path


def test_the_command(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["import", "litellm", "config.yaml"]) == 0

    said = capsys.readouterr()
    assert '{preset: openai, api_key: "${OWN}", models: [gpt-4o]}' in said.out
    assert "sk-secret" not in said.out + said.err
    last = said.err.splitlines()[-1]
    assert last == "deployments taken over: 1 of 1; providers: 1, aliases: 0, rules: 0; findings: 1"


def test_a_file_is_not_overwritten(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.chmod("config.yaml", 0o600)
    arguments = ["import", "litellm", "config.yaml", "-o", "router.yaml"]
    assert main(arguments) == 0
    assert (folder / "router.yaml").stat().st_mode & 0o777 == 0o600
    assert main(["check", "router.yaml"]) == 0
    (folder / "router.yaml").write_text("mine")

    assert main(arguments) == 2
    assert (folder / "router.yaml").read_text() == "mine"
    assert main([*arguments, "--force"]) == 0
    assert main(["check", "router.yaml"]) == 0
    capsys.readouterr()
    for output, says in (
        ("config.yaml", "config.yaml: is the input itself, which is never replaced"),
        (".", ".: is a directory; expected the name of a file"),
        ("no/such/folder", "no/such/folder: No such file"),
    ):
        for force in ([], ["--force"]):
            assert main([*arguments[:-1], output, *force]) == 2
            assert says in capsys.readouterr().err
    assert main(["import", "litellm", "gone.yaml"]) == 2
    assert "gone.yaml: No such file" in capsys.readouterr().err


def test_a_file_with_keys_is_nobody_elses(folder: Path) -> None:
    config = Path("config.yaml")
    config.chmod(0o644)
    arguments = ["import", "litellm", "config.yaml", "--force", "-o"]
    assert main([*arguments, "variables.yaml"]) == 0
    config.write_text(config.read_text().replace("os.environ/OWN", "sk-proj-of-a-test"))
    assert main([*arguments, "variables.yaml"]) == main([*arguments, "keys.yaml"]) == 0

    assert Path("keys.yaml").stat().st_mode & 0o777 == 0o600
    assert Path("variables.yaml").stat().st_mode & 0o777 != 0o600


def test_nothing_is_written_of_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("config.yaml").write_text("model_list: 7")

    assert main(["import", "litellm", "config.yaml", "-o", "router.yaml"]) == 2

    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not Path("router.yaml").exists()


def test_what_check_would_say_is_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "config.yaml").write_text(
        "model_list: [{model_name: a, litellm_params: {model: gpt-4o}}]\n"
        "general_settings: {master_key: os.environ/NOT_SET_HERE}"
    )

    assert main(["import", "litellm", "config.yaml"]) == 0

    assert "auth.master_key: NOT_SET_HERE is not set" in capsys.readouterr().err

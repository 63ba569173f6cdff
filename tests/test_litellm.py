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
from routeur.errors import ConfigError
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
    assert plan(config, "gpt-4") == plan(config, "gpt-4o") == ["azure/gpt-4o", "bedrock/backup"]
    assert plan(config, "mini") == ["azure-acme-eu/mini", "openai/mini", "azure/gpt-4o"]
    assert config.providers["azure-acme-eu"].timeouts.idle == 7.5
    mini = config.providers["azure-acme-eu"].models["mini"]
    assert mini.id == "mini-eu" and mini.price and mini.price.output == 0.6
    pro = config.providers["vertex_ai"].models["pro"].price
    assert pro and (pro.input, pro.output, pro.over[200000].input) == (1.25, 10, 2.5)
    local = config.providers["hosted_vllm"].models["local"]
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
    assert plan(config, "team/any/thing") == ["team/any/thing"]
    assert plan(config, "gpt-4.1-of-tomorrow")[0] == "openai-shared/gpt-4.1-of-tomorrow"
    assert plan(config, "gpt-4o")[0] == "openai-shared/gpt-4o"
    assert plan(config, "auto") == ["mistral/auto", "openai/gpt-4o"]
    assert plan(config, "llama")[:2] == ["ollama/llama", "fireworks_ai/llama"]
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
            "10-0-0-7-80",
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
    config, said = one(tmp_path, params)

    assert list(config.providers) == []
    assert "model_list[0].litellm_params." in said


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
    assert sorted(plan(config, "n")) == ["azure/m", "openai/m"]


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
    assert plan(config, "m") == ["openai/m", "groq/n"]
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
    assert plan(config, "openai/gpt-4.1") == ["groq/openai/gpt-4.1"]
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


def test_a_deployment_may_be_a_fallback_by_its_id(tmp_path: Path) -> None:
    text = """
model_list:
  - {model_name: a, litellm_params: {model: openai/gpt-4o}}
  - {model_name: b, litellm_params: {model: groq/x}, model_info: {id: 17}}
litellm_settings: {fallbacks: [{a: [17]}, {nobody: [a]}], num_retries: 0}
"""
    config, said = take(tmp_path, text)

    assert plan(config, "a") == ["openai/a", "groq/b"]
    assert config.retries.attempts == 2
    assert "litellm_settings.fallbacks[1].nobody: no model is called so" in said


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
    ],
)
def test_refused(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "config.yaml").write_text(text)

    with pytest.raises(ConfigError) as error:
        imported(tmp_path / "config.yaml")

    assert len(error.value.findings) == 1 and says in error.value.findings[0]


def test_odd_shapes_are_findings(tmp_path: Path) -> None:
    text = """
model_list: [7, {model_name: a}, {model_name: "x[1]", litellm_params: {model: gpt-4o}}]
litellm_settings: [drop_params]
router_settings: {fallbacks: {a: b}, routing_strategy: mine, num_retries: 1, num_retries: 2}
general_settings:
nonsense: 1
"""
    config, said = take(tmp_path, text)

    assert list(config.providers) == []
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
    assert main([*arguments[:-1], "config.yaml", "--force"]) == 2
    assert main([*arguments[:-1], "no/such/folder"]) == 2
    assert main(["import", "litellm", "gone.yaml"]) == 2
    assert "gone.yaml: No such file" in capsys.readouterr().err


def test_what_check_would_say_is_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "config.yaml").write_text(
        "model_list: []\ngeneral_settings: {master_key: os.environ/NOT_SET_HERE}"
    )

    assert main(["import", "litellm", "config.yaml"]) == 0

    assert "auth.master_key: NOT_SET_HERE is not set" in capsys.readouterr().err

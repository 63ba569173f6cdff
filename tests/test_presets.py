"""Presets: data that can be trusted, and what the environment switches on."""

import re
from collections import Counter
from urllib.parse import urlsplit

import pytest

from routeur.config import load, parse
from routeur.presets import presets
from routeur.providers import Secret


@pytest.mark.parametrize("name", presets())
def test_preset_is_sane(name):
    preset = presets()[name]
    variables = re.findall(r"\$\{(\w+)\}", preset.base_url)
    url = urlsplit(re.sub(r"\$\{\w*URL\}", "https://h", preset.base_url))
    assert url.scheme == "https" and url.netloc and not url.query
    assert not preset.base_url.endswith("/")
    assert preset.dialect in ("openai", "anthropic", "gemini")
    assert preset.dialect != "anthropic" or not preset.base_url.endswith("/v1")
    assert preset.env and all(set(names[:-1]) == set(variables) for names in preset.env)
    assert list(preset.models) == sorted(set(preset.models)) and "auto" not in preset.models


def test_no_variable_switches_two_presets_on():
    keys = Counter(
        variable
        for preset in presets().values()
        if preset.zero_config
        for variable in {names[-1] for names in preset.env}
    )
    assert [variable for variable, count in keys.items() if count > 1] == []


def test_variables_with_other_uses_switch_nothing_on():
    shared = (
        "GITHUB_TOKEN HF_TOKEN DATABRICKS_HOST DATABRICKS_TOKEN AWS_ACCESS_KEY_ID WANDB_API_KEY"
    )
    environ = dict.fromkeys([*shared.split(), "AWS_SECRET_ACCESS_KEY", "OPENCODE_API_KEY"], "x")
    assert list(load(None, environ).providers) == ["echo"]


def test_what_the_vendors_sdks_take():
    assert presets()["openai"].base_url == "https://api.openai.com/v1"
    assert presets()["anthropic"].base_url == "https://api.anthropic.com"
    assert presets()["google"].base_url == "https://generativelanguage.googleapis.com"
    assert presets()["minimax"].base_url == "https://api.minimax.io/anthropic"
    assert presets()["openai"].data_url_files and presets()["openai"].responses


def test_a_file_without_providers_has_those_of_the_environment():
    """As examples/classifier.py and examples/routeur.service have them."""
    environ = {"OPENAI_API_KEY": "k"}
    for text in ("{}", "log: {level: debug}", "providers:", "aliases: {fast: [openai/gpt-4o]}"):
        assert list(parse(text, "r.yaml", environ).providers) == ["openai", "echo"], text
    assert list(parse("providers: {}", "r.yaml", environ).providers) == ["echo"]


def test_zero_configuration_without_keys():
    config = load(None, {})
    assert list(config.providers) == ["echo"] and config.providers["echo"].any_name
    assert (config.off, config.notices, config.file) == ({}, (), None)


def test_zero_configuration_puts_vendors_first():
    names = "OPENROUTER TOGETHER VERCEL XAI DEEPSEEK MISTRAL ANTHROPIC OPENAI GROQ".split()
    config = load(
        None, {f"{name}_API_KEY": f"key-{name}" for name in names} | {"GOOGLE_API_KEY": "g"}
    )
    assert list(config.providers) == (
        "openai anthropic google mistral deepseek xai groq openrouter togetherai echo".split()
    )
    openai = config.providers["openai"]
    assert openai.credentials[0].api_key == Secret("key-OPENAI")
    assert "gpt-4o" in openai.models and openai.any_name and openai.preset == "openai"


def test_variables_in_an_address():
    environ = {"SNOWFLAKE_CORTEX_PAT": "k"}
    assert list(load(None, environ).providers) == ["echo"]
    config = load(None, environ | {"SNOWFLAKE_ACCOUNT": "acme"})
    (credential,) = config.providers["snowflake-cortex"].credentials
    assert credential.base_url == "https://acme.snowflakecomputing.com/api/v2/cortex/v1"

"""LiteLLM's names: its providers, and why a setting has no counterpart here.

Source of truth: LiteLLM's documentation (proxy/configs, proxy/config_settings, routing,
proxy/reliability), and its types of router settings.
"""

from __future__ import annotations

from typing import NamedTuple

from routeur.litellm.given import notes


class Kind(NamedTuple):
    """A provider of LiteLLM's: a preset here, or an address that speaks OpenAI's dialect.

    `keys` are the variables that LiteLLM takes the key from, `address` may be one, too.
    """

    preset: str = ""
    address: str = ""
    keys: tuple[str, ...] = ()


# LiteLLM's prefix, the preset, and the variables of keys where LiteLLM's are others.
_PRESETS = """
    openai openai
    anthropic anthropic
    gemini google
    mistral mistral
    deepseek deepseek
    xai xai
    groq groq
    cohere cohere
    perplexity perplexity PERPLEXITYAI_API_KEY
    moonshot moonshotai
    zai zai ZAI_API_KEY
    dashscope alibaba
    cerebras cerebras
    inception inception
    meta_llama llama
    morph morph
    amazon_nova nova
    sarvam sarvam
    v0 v0
    openrouter openrouter
    together_ai togetherai TOGETHERAI_API_KEY
    fireworks_ai fireworks-ai
    deepinfra deepinfra
    nvidia_nim nvidia NVIDIA_NIM_API_KEY
    huggingface huggingface
    novita novita-ai
    nebius nebius
    friendliai friendli
    vercel_ai_gateway vercel VERCEL_AI_GATEWAY_API_KEY
    wandb wandb
    ovhcloud ovhcloud
    baseten baseten
    chutes chutes
    poe poe
"""
# LiteLLM's prefix, where its API is, and the variable of its key.
_ADDRESSES = """
    minimax https://api.minimax.io/v1 MINIMAX_API_KEY
    codestral https://codestral.mistral.ai/v1 CODESTRAL_API_KEY
    sambanova https://api.sambanova.ai/v1 SAMBANOVA_API_KEY
    hyperbolic https://api.hyperbolic.xyz/v1 HYPERBOLIC_API_KEY
    lambda_ai https://api.lambda.ai/v1 LAMBDA_API_KEY
    featherless_ai https://api.featherless.ai/v1 FEATHERLESS_AI_API_KEY
    nscale https://inference.api.nscale.com/v1 NSCALE_API_KEY
    volcengine https://ark.cn-beijing.volces.com/api/v3 VOLCENGINE_API_KEY
    ai21 https://api.ai21.com/studio/v1 AI21_API_KEY
    ai21_chat https://api.ai21.com/studio/v1 AI21_API_KEY
    aiml https://api.aimlapi.com/v1 AIML_API_KEY
    github https://models.inference.ai.azure.com GITHUB_API_KEY
    databricks ${DATABRICKS_API_BASE} DATABRICKS_API_KEY
    litellm_proxy ${LITELLM_PROXY_API_BASE} LITELLM_PROXY_API_KEY
    hosted_vllm ${HOSTED_VLLM_API_BASE}
    vllm ${HOSTED_VLLM_API_BASE}
    lm_studio ${LM_STUDIO_API_BASE:-http://127.0.0.1:1234/v1}
    llamafile ${LLAMAFILE_API_BASE:-http://127.0.0.1:8080/v1}
    xinference ${XINFERENCE_API_BASE:-http://127.0.0.1:9997/v1}
    docker_model_runner http://127.0.0.1:12434/engines/v1
    openai_like ${OPENAI_LIKE_API_BASE}
    custom_openai
"""
# Those with rules of their own.
CLOUDS = ("azure", "azure_ai", "bedrock", "vertex_ai", "ollama")
# Which of them are others by another name.
SAME = {
    "text-completion-openai": "openai",
    "anthropic_text": "anthropic",
    "cohere_chat": "cohere",
    "azure_text": "azure",
    "vertex_ai_beta": "vertex_ai",
    "ollama_chat": "ollama",
}


def _kinds() -> dict[str, Kind]:
    found = {name: Kind() for name in CLOUDS}
    for line in _PRESETS.split("\n"):
        if words := line.split():
            found[words[0]] = Kind(preset=words[1], keys=tuple(words[2:]))
    for line in _ADDRESSES.split("\n"):
        if words := line.split():
            found[words[0]] = Kind(address=" ".join(words[1:2]), keys=tuple(words[2:]))
    return found | {name: found[other] for name, other in SAME.items()}


KINDS = _kinds()
# Whose a model without a prefix is, by how its name begins.
BARE = (
    (r"gpt-|chatgpt|o\d|ft:|text-embedding-|dall-e|whisper|tts-|omni-|davinci|babbage", "openai"),
    (r"claude", "anthropic"),
    (r"gemini", "vertex_ai"),
    (r"command|embed-", "cohere"),
)
# Vendors for `model: "*"`, where LiteLLM finds the provider by the model's name.
ANYONE = "openai anthropic gemini mistral deepseek xai".split()
# Whose models have names that only the user knows.
OWN = frozenset(
    "azure azure_ai ollama hosted_vllm vllm lm_studio llamafile xinference docker_model_runner"
    " openai_like custom_openai litellm_proxy".split()
)
# How a vendor's models are called, and nobody else's; others' are as their presets list them.
_NAMES = """
    openai gpt-* chatgpt-* o1* o3* o4* ft:* text-embedding-3* text-embedding-ada* dall-e-*
        whisper-1 tts-1* sora-* codex-* computer-use-* omni-moderation-* text-moderation-*
        davinci-* babbage-*
    anthropic claude-*
    gemini gemini-* gemma-* imagen-* veo-* learnlm-*
    vertex_ai gemini-* claude-*@* text-embedding-0* text-multilingual-embedding-*
    bedrock anthropic.* amazon.* meta.* mistral.* cohere.* deepseek.* ai21.* qwen.* openai.*
        us.* eu.* apac.* global.*
    mistral mistral-* codestral-* devstral-* labs-* magistral-* ministral-* pixtral-* voxtral-*
        open-mistral-* open-mixtral-*
    deepseek deepseek-*
    xai grok-*
    groq llama-* compound* whisper-large-* groq/compound groq/compound-mini meta-llama/* qwen/*
        moonshotai/* canopylabs/* openai/gpt-oss*
    cohere command-* c4ai-* embed-* rerank-*
    perplexity sonar*
    moonshot kimi-* moonshot-*
    zai glm-*
    dashscope qwen* qwq-* qvq-*
"""
NAMES = {
    words[0]: tuple(words[1:])
    for row in _NAMES.replace("\n        ", " ").split("\n")
    if (words := row.split())
}

# Paths of routeur's own, which no provider may be called like.
RESERVED = frozenset("v1 v1beta api chat health healthz vhealth metrics ui echo auto".split())

_LIMITS = "no counterpart: what limits a credential here are rpm and tpm"
_BUDGETS = (
    "no counterpart: budgets belong to keys (routeur keys create --limit), not to deployments"
)
_ENTRA = "Entra ID is not spoken here: give an api_key"
_DROPS = "no counterpart: copied requests pass as they are, translations name what they drop"
_AWS_ROLE = "not taken over: name a profile with role_arn (profile), or use AWS's usual chain"
_TAGS = "no counterpart: requests choose by a rule with match.headers, or by their key's allow-list"
_KEYS = "no counterpart: what a key may use is said when it is made (routeur keys create)"
_HEALTH = "no counterpart: health is measured with the calls themselves (/health)"
_TEMPLATES = "no counterpart: prompts pass as they are"
_CHOSEN = "clients never choose where a request goes"
_ADDED = "nothing is added to a client's request here: let clients say it"

PARAMS = notes(
    (_LIMITS, "max_parallel_requests default_api_key_tpm_limit default_api_key_rpm_limit"),
    ("no counterpart: a credential has one tpm, of input and output together", "itpm otpm"),
    (_BUDGETS, "max_budget budget_duration"),
    ("cache_marks: auto marks long prompts for caches", "cache_control_injection_points"),
    ("retries are counted for a whole request here: see retries", "num_retries max_retries"),
    ("one ban holds for all credentials: see ban", "cooldown_time"),
    (_TAGS, "tags tag_regex"),
    (_ENTRA, "tenant_id client_id client_secret azure_scope azure_username azure_password"),
    (
        _AWS_ROLE,
        "aws_role_name aws_session_name aws_web_identity_token aws_sts_endpoint"
        " aws_external_id aws_session_tags",
    ),
    (_DROPS, "drop_params additional_drop_params allowed_openai_params modify_params"),
    (_CHOSEN, "configurable_clientside_auth_params"),
    ("certificates are always verified: name your own authority in tls.ca", "ssl_verify"),
    (
        "nothing is invented here: try with the provider echo",
        "mock_response mock_timeout mock_tool_calls",
    ),
    ("answers are not changed here", "merge_reasoning_content_in_choices"),
    ("every provider has its own API below /NAME/ here", "use_in_pass_through"),
    (_TEMPLATES, "roles initial_prompt_value final_prompt_value bos_token eos_token prompt_id"),
    (
        "no counterpart: `auto`, and rules by match, choose among models here",
        "auto_router_config auto_router_config_path auto_router_default_model"
        " auto_router_embedding_model complexity_router_config"
        " complexity_router_default_model",
    ),
    ("set the headers by hand, or let clients send them", "forward_client_headers"),
)
INFO = notes(
    (_KEYS, "access_groups team_id team_public_model_name"),
    (
        _HEALTH,
        "health_check_timeout health_check_model disable_background_health_check"
        " health_check_voice health_check_max_tokens",
    ),
    ("no counterpart: give each environment a file of its own", "supported_environments"),
    ("tokens are estimated here, or counted by the provider", "custom_tokenizer"),
)

SECTIONS = notes(
    (
        "guardrails do not exist here: keep them in the app, or in a proxy beside routeur",
        "guardrails policies policy_attachments",
    ),
    (
        "routeur serves models only, no tools: MCP servers stay where they are",
        "mcp_servers mcp_tools mcp_aliases",
    ),
    ("prompts are not kept here", "prompts prompt_management"),
    ("no counterpart: the app asks its vector store itself", "vector_store_registry search_tools"),
    ("no counterpart: agents are asked directly", "agent_list a2a_agents"),
    (
        "/v1/files and its like go to the only provider of their dialect, or to the one "
        "that the header Routeur-Provider names",
        "files_settings finetune_settings batch_settings assistant_settings assistants_settings",
    ),
    ("there are no callbacks: see /metrics, /v1/traces/{id} and the log", "callback_settings"),
)

_DATABASE = "users, teams and spend lived in LiteLLM's database: see keys and usage in the manual"
_ALERTS = "no alerts are sent: watch /metrics and /health"
_STRANGERS = "no counterpart: clients show the master key or a virtual key"
_RELAYS = "/NAME/… reaches the API of every configured provider; others are not relayed to"
_CLIENT = "who sends no model gets an error here"
_HEADERS = "unknown headers of clients go on to providers in any case"

GENERAL = notes(
    (
        _DATABASE,
        "database_connection_pool_limit database_connection_timeout database_type"
        " store_model_in_db supported_db_objects disable_spend_logs disable_spend_updates"
        " disable_reset_budget disable_adding_master_key_hash_to_db"
        " disable_prisma_schema_update proxy_budget_rescheduler_min_time"
        " proxy_budget_rescheduler_max_time proxy_batch_write_at"
        " proxy_batch_polling_interval user_api_key_cache_ttl"
        " maximum_spend_logs_retention_interval default_team_disabled custom_key_generate"
        " disable_master_key_return",
    ),
    (
        _ALERTS,
        "alerting alerting_threshold alerting_args alert_types alert_to_webhook_url"
        " spend_report_frequency",
    ),
    (
        _HEALTH,
        "background_health_checks health_check_interval health_check_details"
        " use_shared_health_check",
    ),
    (
        _STRANGERS,
        "custom_auth enable_jwt_auth litellm_jwtauth enable_oauth2_auth"
        " enable_oauth2_proxy_auth oauth2_config_mappings allow_user_auth custom_sso"
        " litellm_key_header_name allowed_ips allowed_routes admin_only_routes public_routes"
        " ui_access_mode use_x_forwarded_for",
    ),
    (_CHOSEN, "allow_client_side_credentials"),
    (
        "no counterpart: limits here are those of keys and credentials",
        "max_parallel_requests global_max_parallel_requests"
        " disable_retry_on_max_parallel_request_limit_error",
    ),
    (_RELAYS, "pass_through_endpoints use_client_credentials_pass_through_routes"),
    (
        _CLIENT,
        "completion_model embedding_model image_generation_model moderation_model"
        " infer_model_from_keys",
    ),
    (
        _HEADERS,
        "forward_client_headers_to_llm_api forward_openai_org_id forward_llm_provider_auth_headers",
    ),
    (
        "let your platform put secrets into the environment",
        "key_management_system key_management_settings use_google_kms use_azure_key_vault",
    ),
    (
        "clients' requests are not checked for that here",
        "enforce_user_param enforced_params reject_clientside_metadata_tags",
    ),
    ("answers have no limit of size here", "max_response_size_mb"),
)

_CALLBACKS = "there are no callbacks: see /metrics, /v1/traces/{id} and the log"
_CACHE = "answers are not cached here; providers' own prompt caches are kept warm (cache_marks)"
RELIABILITY = notes(
    ("a provider's refusal is an answer here, for the client", "content_policy_fallbacks"),
    ("no counterpart: one ban holds for all kinds of failures", "allowed_fails_policy"),
    ("no counterpart: retries hold for all; a rule may have its own", "model_group_retry_policy"),
    ("what a provider's Retry-After says holds, else short random pauses", "retry_after"),
    ("a plan's length is the only bound, beside retries.attempts", "max_fallbacks"),
    (_TAGS, "enable_tag_filtering tag_filtering_match_any tag_routing_prefix"),
    (_ADDED, "default_litellm_params"),
    (_LIMITS, "default_max_parallel_requests"),
    (_BUDGETS, "provider_budget_config"),
    (
        "conversations stay with whom they have here, for aliases and `auto`",
        "optional_pre_call_checks deployment_affinity_ttl_seconds",
    ),
    (
        "how targets are measured here is said in the manual, below auto",
        "routing_strategy_args routing_groups",
    ),
    ("requests are not queued here", "default_priority polling_interval"),
    ("connections are pooled for each credential", "client_ttl"),
    (_CACHE, "cache_responses caching_groups cache_kwargs"),
    ("wrong settings are errors here: see routeur check", "ignore_invalid_deployments"),
    ("see log.level", "debug_level"),
    ("no alerts are sent: watch /metrics and /health", "alerting_config"),
    ("guardrails do not exist here", "guardrail_list"),
)
MODULE = RELIABILITY | notes(
    (
        _CALLBACKS,
        "success_callback failure_callback callbacks service_callbacks"
        " langfuse_default_tags redact_user_api_key_info turn_off_message_logging",
    ),
    (
        _CACHE,
        "cache cache_params enable_caching_on_provider_specific_optional_params"
        " disable_copilot_system_to_assistant",
    ),
    (
        _KEYS,
        "key_generation_settings upperbound_key_generate_params default_key_generate_params"
        " default_internal_user_params default_team_settings default_team_params"
        " max_internal_user_budget internal_user_budget_duration max_user_budget"
        " max_end_user_budget enable_key_alias_format_validation",
    ),
    (_BUDGETS, "max_budget budget_duration"),
    (
        _DROPS,
        "modify_params additional_drop_params enable_json_schema_validation"
        " use_chat_completions_url_for_anthropic_messages",
    ),
    (
        "certificates are always verified: name your own authority in tls.ca",
        "ssl_verify ssl_certificate",
    ),
    ("both kinds of addresses are tried, the first that answers is taken", "force_ipv4"),
    ("nothing is sent to anybody else", "telemetry"),
    (
        "metrics have no label for end users",
        "disable_end_user_cost_tracking disable_end_user_cost_tracking_prometheus_only"
        " prometheus_metrics_config",
    ),
    ("see guardrails", "default_guardrails guardrails"),
    ("routeur serves models only, no tools", "mcp_aliases"),
    ("tokens are estimated here, or counted by the provider", "disable_hf_tokenizer_download"),
    ("give each provider its key", "api_key api_base"),
    (_HEADERS, "forward_traceparent_to_llm_provider"),
    ("images pass as they are", "disable_add_transform_inline_image_block"),
)

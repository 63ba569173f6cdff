"""What LiteLLM's file says of a model: prices, sizes, abilities."""

from __future__ import annotations

import re
from typing import Any

from routeur import catalogue
from routeur.config_models import ABILITIES
from routeur.litellm.given import Given
from routeur.litellm.tables import INFO
from routeur.usage import BUCKETS, Price

# LiteLLM's price of a token, and the bucket here.
_PRICES = {
    "input_cost_per_token": "input",
    "output_cost_per_token": "output",
    "cache_read_input_token_cost": "cache_read",
    "cache_creation_input_token_cost": "cache_write",
    "cache_creation_input_token_cost_above_1hr": "cache_write_1h",
    "output_cost_per_reasoning_token": "reasoning",
    "input_cost_per_audio_token": "audio_in",
    "output_cost_per_audio_token": "audio_out",
    "input_cost_per_image_token": "image_in",
    "output_cost_per_image_token": "image_out",
}
_SERVICES = {"batches": "batch", "priority": "priority", "flex": "flex"}
_PRICE = re.compile(rf"({'|'.join(_PRICES)})(?:_above_(\d+)k_tokens)?(?:_({'|'.join(_SERVICES)}))?")
_ABLE = {
    "supports_vision": "image",
    "supports_pdf_input": "file",
    "supports_audio_input": "audio",
    "supports_function_calling": "tools",
    "supports_response_schema": "json",
    "supports_reasoning": "reasoning",
}


def about(given: Given, info: Given, preset: str, id: str) -> tuple[dict[str, Any], str]:
    """The settings of a model, of `litellm_params` and `model_info`; and the name of the model
    whose price was looked up for it, if any was.
    """
    found: dict[str, Any] = {}
    price = _price(given) or _price(info)
    if price and ("input" in price) != ("output" in price):
        missing = "output" if "input" in price else "input"
        if info.values.get("mode") == "embedding":
            price["output"] = 0
        else:
            given.finding(f"{missing}_cost_per_token", "is unknown here then: give both")
    base = info.text("base_model") or ""
    if price:
        found["price"] = price
    elif base:
        found = _as_known(base, preset, id, info)
    output = info.whole("max_output_tokens"), info.whole("max_tokens")
    sizes = {"context": info.whole("max_input_tokens"), "output": output[0] or output[1]}
    looked_up = "price" in found and not price
    found |= {name: size for name, size in sizes.items() if size}
    if info.values.get("mode") == "embedding":
        found.pop("output", None)  # the length of a vector
    lacking = {ability for name, ability in _ABLE.items() if info.flag(name) is False}
    if lacking:
        found["has"] = [name for name in ABILITIES if name not in lacking]
    mode = info.text("mode")
    if mode in ("rerank", "batch", "ocr", "search"):
        info.finding("mode", f"there is no path for {mode} here")
    info.close(INFO, "not kept here")
    return found, base if looked_up else ""


def _price(given: Given) -> dict[str, Any]:
    """USD per million tokens, in the words here; what is not of tokens is a finding."""
    found: dict[str, Any] = {}
    for name in list(given.values):
        match = _PRICE.fullmatch(name)
        if match and not (match[2] and match[3]):
            cost = given.number(name)
            if cost is not None:
                _part(found, match[2], match[3])[_PRICES[match[1]]] = round(cost * 1e6, 9)
        elif "cost" in name and name in given.left():
            given.raw(name)
            given.finding(name, "only prices of tokens are known here")
    return found


def _part(price: dict[str, Any], thousands: str | None, service: str | None) -> dict[str, Any]:
    if thousands:
        place: dict[str, Any] = price.setdefault("over", {}).setdefault(int(thousands) * 1000, {})
        return place
    return price.setdefault(_SERVICES[service], {}) if service else price


def _as_known(base: str, preset: str, id: str, info: Given) -> dict[str, Any]:
    """Price and sizes of the model behind a name that says nothing, such as Azure's."""
    provider = preset or "openai"
    if catalogue.find(provider, id):
        return {}
    row = catalogue.find(provider, base.rpartition("/")[2])
    cost = row.cost() if row else None
    if row is None or cost is None:
        info.finding("base_model", f'nothing is known of "{base}" here: give prices by hand')
        return {}
    sizes = {"context": row.context, "output": row.output}
    known = {name: size for name, size in sizes.items() if size}
    return {"price": _plain_price(cost), **known}


def _plain_price(price: Price) -> dict[str, Any]:
    """A price as router.yaml has it."""
    found: dict[str, Any] = {
        name: cost for name in BUCKETS if (cost := getattr(price, name)) is not None
    }
    if price.over:
        found["over"] = {size: _plain_price(each) for size, each in price.over.items()}
    return found | {name: _plain_price(each) for name, each in price.services.items()}

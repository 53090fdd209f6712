"""Profiles: what an upstream supports, from a preset by name or address, the config, and what was learned.

A profile is data. `adapt.py` makes a request fit it; `learn.py` makes a new profile from a refusal.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Literal
from urllib.parse import urlsplit

from bridge.config.settings import ProfileName, UpstreamConfig
from bridge.config.values import is_loopback

MAX_REASON_CHARS = 300


@dataclass(frozen=True)
class Profile:
    """What one endpoint supports. The defaults describe OpenAI; each field is also a setting of `upstream`."""

    state: Literal["auto", "stateless", "previous_response_id"] = "auto"
    stream: Literal["auto", "always", "never"] = "auto"
    store: bool | None = None
    background: bool | None = None
    drop: tuple[str, ...] = ()
    drop_without_tools: tuple[str, ...] = ()
    developer_role: Literal["keep", "system", "instructions"] = "keep"
    instructions: str | None = None
    content_parts: bool = True
    images: bool = True
    reasoning_replay: bool = True
    item_ids: bool = True
    odd_arguments: bool = True
    context_window: int | None = None
    compaction: bool = False
    auth: str = "bearer"
    reasons: Mapping[str, str] = field(default_factory=dict[str, str])
    """The upstream's own words for each field that was learned (for `drop`: for each entry)."""

    def learn(self, name: str, value: object, *, reason: str) -> "Profile":
        """Return the profile with one field changed; `reason` is the upstream's own words."""
        about = [str(path) for path in value if path not in getattr(self, name)] if isinstance(value, tuple) else [name]
        reasons = dict.fromkeys(about, reason[:MAX_REASON_CHARS])
        return replace(self, **{name: value}, reasons={**self.reasons, **reasons})

    def why(self, about: str) -> str:
        """Return the upstream's words on a field or parameter, in parentheses; "" where it was not learned."""
        return f" ({self.reasons[about]})" if about in self.reasons else ""


_STATELESS = Profile(state="stateless", background=False)

NEUTRAL_INSTRUCTIONS = "You are a helpful assistant."

PRESETS: Mapping[ProfileName, Profile] = {
    # platform.openai.com/docs/api-reference/responses
    "openai": Profile(background=True),
    # learn.microsoft.com/azure/ai-foundry/openai/how-to/responses: the key is sent as `api-key`
    "azure": Profile(background=True, auth="api-key"),
    # docs.aws.amazon.com/bedrock/latest/userguide/inference-responses-api.html
    "bedrock": Profile(),
    # RayBytes/ChatMock#51, #103: no store, only streams, no `max_output_tokens`; earendil-works/pi#4184: instructions
    "codex": replace(
        _STATELESS,
        store=False,
        stream="always",
        instructions=NEUTRAL_INSTRUCTIONS,
        drop=("max_output_tokens",),
    ),
    # help.aliyun.com/zh/model-studio/compatibility-with-openai-responses-api
    "dashscope": Profile(),
    # docs.rs/openai-interface (responses) on DeepSeek's guide: no `store`, no `previous_response_id`
    "deepseek": replace(_STATELESS, store=False),
    # digitalocean/gradient-python#96: takes `store`, and knows no response afterwards
    "digitalocean": _STATELESS,
    # developer.furiosa.ai/latest/en/furiosa_llm/responses-api.html: the store is off unless it is asked for
    "furiosa": _STATELESS,
    # console.groq.com/docs/responses-api: no stateful conversations
    "groq": _STATELESS,
    # huggingface.co/docs/inference-providers/guides/responses-api: made of chat completions
    "huggingface": _STATELESS,
    # docs.litellm.ai/docs/response_api_native_passthrough
    "litellm": Profile(),
    # lemonade-sdk/lemonade#2674: system messages only at the beginning; ggml-org/llama.cpp#23465: outputs as text
    "llama.cpp": replace(_STATELESS, developer_role="instructions", content_parts=False),
    # lmstudio.ai/docs/developer/openai-compat/responses
    "lmstudio": Profile(background=False),
    # QuantumNous/new-api#1216: no stored responses; any request may go to another account
    "new-api": _STATELESS,
    # docs.ollama.com/api/openai-compatibility: stateless, no `truncation`
    "ollama": replace(_STATELESS, drop=("truncation",)),
    # songquanpeng/one-api#2203: its forks have the endpoint, and accounts as new-api has
    "one-api": _STATELESS,
    # openrouter.ai/docs/api_reference/responses/error-handling: refuses `store: true`
    "openrouter": replace(_STATELESS, store=False),
    # docs.sarvam.ai/api-reference/open-source/responses: refuses `store: true`
    "sarvam": replace(_STATELESS, store=False),
    # docs.together.ai/docs/inference/responses-api: no stored responses
    "together": _STATELESS,
    # console.upstage.ai/docs (responses): refuses `store: true`
    "upstage": replace(_STATELESS, store=False),
    # vllm-project/vllm#22137, #43244: no store by default, and one without calls and outputs
    "vllm": replace(_STATELESS, drop=("prompt",)),
    # docs.x.ai, and its types in reference.langchain.com (XAIResponsesCreateParams): neither is supported
    "xai": Profile(background=False, drop=("service_tier",)),
}
"""The presets, each under the documentation or public issue that it rests on; what they leave open is learned."""

_HOSTS: Mapping[str, ProfileName] = {
    "api.openai.com": "openai",
    "openai.azure.com": "azure",
    "cognitiveservices.azure.com": "azure",
    "services.ai.azure.com": "azure",
    "amazonaws.com": "bedrock",
    "chatgpt.com": "codex",
    "aliyuncs.com": "dashscope",
    "api.deepseek.com": "deepseek",
    "inference.do-ai.run": "digitalocean",
    "api.groq.com": "groq",
    "router.huggingface.co": "huggingface",
    "openrouter.ai": "openrouter",
    "api.sarvam.ai": "sarvam",
    "api.together.ai": "together",
    "api.together.xyz": "together",
    "api.upstage.ai": "upstage",
    "api.x.ai": "xai",
}
_LOCAL_PORTS: Mapping[int, ProfileName] = {1234: "lmstudio", 11434: "ollama"}
"""Default ports of these programs."""


def choose_profile(config: UpstreamConfig) -> Profile:
    """Return the preset that the config names, else the one for its address, with the config's own fields on top."""
    name = name_profile(config)
    said = {part.name: getattr(config, part.name, None) for part in fields(Profile)}
    said = {part: value for part, value in said.items() if value is not None and (part, value) != ("stream", "auto")}
    return replace(PRESETS[name] if name else Profile(), **said)


def name_profile(config: UpstreamConfig) -> ProfileName | None:
    """Return the name of the preset for this config; None where there is none."""
    return recognise(config.base_url) if config.profile == "auto" else config.profile


def recognise(base_url: str) -> ProfileName | None:
    """Recognise whose endpoint this is by its address; None where that is not certain."""
    parts = urlsplit(base_url)
    if is_loopback(base_url):
        return _LOCAL_PORTS.get(parts.port or 0)
    host = parts.hostname or ""
    return next((name for known, name in _HOSTS.items() if host == known or host.endswith(f".{known}")), None)

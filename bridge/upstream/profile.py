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

PRESETS: Mapping[ProfileName, Profile] = {
    "openai": Profile(background=True),
    "azure": Profile(background=True, auth="api-key"),
    "bedrock": Profile(),
    "codex": replace(_STATELESS, store=False, stream="always", drop=("max_output_tokens",)),
    "dashscope": Profile(),
    "deepseek": replace(_STATELESS, store=False),
    "digitalocean": _STATELESS,
    "furiosa": _STATELESS,
    "groq": _STATELESS,
    "huggingface": _STATELESS,
    "litellm": Profile(),
    "llama.cpp": replace(_STATELESS, developer_role="instructions", content_parts=False),
    "lmstudio": Profile(background=False),
    "new-api": _STATELESS,
    "ollama": replace(_STATELESS, drop=("truncation",)),
    "one-api": _STATELESS,
    "openrouter": replace(_STATELESS, store=False),
    "sarvam": replace(_STATELESS, store=False),
    "together": _STATELESS,
    "upstage": replace(_STATELESS, store=False),
    "vllm": replace(_STATELESS, drop=("prompt",)),
    "xai": Profile(background=False, drop=("service_tier",)),
}
"""The presets, from documentation, source code and public issues; what they do not know is learned.

Sources: OpenRouter, Upstage and Sarvam refuse `store: true`; the Codex backend refuses it and `max_output_tokens`
(ChatMock#103, suna#5124) and only streams; Azure reads keys from `api-key`; DigitalOcean accepts state that it does not
keep (gradient#96), vLLM leaves calls and outputs out of it (vllm#43244), and a one-api or new-api relay may use another
account each time; llama.cpp accepts system messages only at the beginning (lemonade#2674), and outputs only as text.
"""

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

"""Words of `demo`, in the language of the reader: English or Chinese."""

from collections.abc import Mapping
from dataclasses import dataclass

from bridge.config.settings import OPENAI_MODEL, UpstreamConfig


@dataclass(frozen=True)
class Words:
    """The sentences of one language."""

    starting: str
    """The line before the prompt, which says what happens, with `{whom}`."""
    embedded: str
    upstream: str
    """The name of what is asked, with `{model}` and `{url}`."""
    prompt: str | None
    """The prompt of the example; None where that is in this language itself."""
    paste: str


ENGLISH = Words(
    starting="Starting the bridge, which asks {whom}:",
    embedded="the embedded rule-based upstream (no model)",
    upstream="{model} at {url}",
    prompt=(
        "Please do this in parallel:\n1. Get the current time\n2. Show system information\n3. Calculate 123.5 + 456.7\n"
        "4. Generate 3 random numbers between 1 and 100"
    ),
    paste="To give your host this tool, paste into its MCP configuration:",
)
CHINESE = Words(
    starting="正在启动 bridge，向{whom}提问：",
    embedded="内置的规则上游（没有模型）",
    upstream="{url} 的 {model}",
    prompt=None,
    paste="要让你的宿主使用这个工具，请把下面的内容粘贴到它的 MCP 配置中：",
)


def describe_start(words: Words, upstream: UpstreamConfig) -> str:
    """Say what is about to happen."""
    asked = words.upstream.format(model=upstream.model or OPENAI_MODEL, url=upstream.base_url)
    return words.starting.format(whom=words.embedded if upstream.is_embedded else asked)


def choose_words(environ: Mapping[str, str]) -> Words:
    """Choose the language that the environment sets for messages, as other programs do."""
    locale = next((environ[name] for name in ("LC_ALL", "LC_MESSAGES", "LANG") if environ.get(name)), "")
    return CHINESE if locale.lower().startswith("zh") else ENGLISH

"""What `demo` says, in the language of the reader: English or Chinese."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Words:
    """The sentences of one language."""

    starting: str
    embedded: str
    upstream: str
    """What is asked, with `{model}` and `{url}`."""
    prompt_to: str
    """What stands before the prompt, with `{whom}`."""
    prompt: str | None
    """The prompt of the example; None where that is in this language itself."""
    paste: str


ENGLISH = Words(
    starting="Starting the bridge ...",
    embedded="the embedded rule-based upstream (no model)",
    upstream="{model} at {url}",
    prompt_to="The prompt, to {whom}:",
    prompt=(
        "Please do this in parallel:\n1. Get the current time\n2. Show system information\n3. Calculate 123.5 + 456.7\n"
        "4. Generate 3 random numbers between 1 and 100"
    ),
    paste="To give your host this tool, paste into its MCP configuration:",
)
CHINESE = Words(
    starting="正在启动 bridge ...",
    embedded="内置的规则上游（没有模型）",
    upstream="{url} 的 {model}",
    prompt_to="发给{whom}的提示：",
    prompt=None,
    paste="要让你的宿主使用这个工具，请把下面的内容粘贴到它的 MCP 配置中：",
)


def choose_words(environ: Mapping[str, str]) -> Words:
    """Choose the language that the environment sets for messages, as other programs do."""
    locale = next((environ[name] for name in ("LC_ALL", "LC_MESSAGES", "LANG") if environ.get(name)), "")
    return CHINESE if locale.lower().startswith("zh") else ENGLISH

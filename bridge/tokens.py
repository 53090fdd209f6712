"""About how many tokens a text costs."""


def estimate_tokens(text: str) -> int:
    """Four characters a token, one for each Chinese, Japanese or Korean character."""
    wide = 0 if text.isascii() else sum(ord(char) >= 0x2E80 for char in text)
    return wide + (len(text) - wide + 3) // 4

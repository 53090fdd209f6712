"""The embedded upstream stays small enough to be read in one go."""

import ast
import io
import tokenize
from pathlib import Path

LIMIT = 300
LAYOUT = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}


def test_the_embedded_upstream_has_fewer_than_300_lines_of_code(repository: Path) -> None:
    files = [*(repository / "bridge" / "offline").glob("*.py")]
    counted = {file.name: count_code(file.read_text(encoding="utf-8")) for file in files}
    assert len(files) > 3
    assert sum(counted.values()) < LIMIT, counted


def test_blank_lines_comments_and_docstrings_do_not_count() -> None:
    text = '"""Doc\nstring."""\n\nx = 1  # one\n# comment\ny = [\n    """not a\n    docstring""",\n]\n"""About y."""\n'
    assert count_code(text) == 5


def count_code(text: str) -> int:
    """The physical lines of `text` that hold code: a string that is a statement of its own is none."""
    documented = {
        line
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    lines = {line for token in tokens if token.type not in LAYOUT for line in range(token.start[0], token.end[0] + 1)}
    return len(lines - documented)

"""A question of a run as it is written: for other processes to show it, and to answer exactly that."""

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, Self, cast

from bridge.json_text import Json, JsonObject, encode
from bridge.questions import AT_TERMINAL, Answer, Question, approve, decline, is_yes

SETTLE = "settle"
"""The type of the message that answers a question."""
ANSWERS = {"yes": approve(AT_TERMINAL), "no": decline(AT_TERMINAL)}
"""All that another process can answer."""
Outcome = Literal["yes", "no", "unanswered"]


@dataclass(frozen=True)
class Asked:
    """One asking of one question. An answer to it fits no other: neither another call, nor the same one asked again."""

    server: str
    tool: str
    arguments: JsonObject
    message: str
    claims: list[str]
    """What identifies the tool with all that it claims, as far as that is part of the question."""
    is_approval: bool
    nonce: str

    @classmethod
    def of(cls, question: Question) -> Self:
        """Return a new asking of this question."""
        claims = [*question.identify(), question.about]
        return cls(
            question.server,
            question.tool,
            question.arguments,
            question.message,
            claims,
            question.is_approval,
            secrets.token_hex(16),
        )

    @classmethod
    def read(cls, value: JsonObject) -> Self:
        """Read what `to_json` has returned. Raises ValueError for anything else."""
        if value.keys() != {field.name for field in fields(cls)}:
            raise ValueError("this is no question of this release")
        return cls(**cast("dict[str, Any]", value))

    def to_json(self) -> JsonObject:
        """Return it as JSON."""
        return {**vars(self)}

    def digest(self, run_id: str, key: str) -> str:
        """Identify the exact call that is asked about, and this asking."""
        return hashlib.sha256(encode([run_id, key, self.to_json()]).encode()).hexdigest()


@dataclass(frozen=True)
class Settled:
    """What has become of a question."""

    outcome: Outcome
    sender: str
    """Who has answered: the sender of a message, or nobody where a host has."""

    @classmethod
    def by(cls, answer: Answer | None, sender: str) -> Self:
        """Return what this answer has made of it; None is none."""
        return cls("unanswered" if answer is None else "yes" if is_yes(answer) else "no", sender)


def build_message(run_id: str, key: str, asked: Asked, answer: Literal["yes", "no"]) -> JsonObject:
    """Build the message that answers a question as it was shown."""
    digest, sender = asked.digest(run_id, key), secrets.token_hex(16)
    return {"type": SETTLE, "question": key, "digest": digest, "answer": answer, "sender": sender}


def read_answer(body: JsonObject, run_id: str, open_questions: Mapping[str, Asked]) -> tuple[str, Answer, str] | None:
    """Read a message: the key of the open question that it answers, the answer and the sender. None for a message that
    answers none: it is about another call or another asking, or it is no message of ours."""
    key, answer, sender = (body.get(name) for name in ("question", "answer", "sender"))
    if not (isinstance(key, str) and isinstance(answer, str) and isinstance(sender, str) and sender):
        return None
    asked = open_questions.get(key)
    if asked is None or not asked.is_approval or answer not in ANSWERS:
        return None
    is_same = hmac.compare_digest(asked.digest(run_id, key).encode(), _encode(body.get("digest")))
    return (key, ANSWERS[answer], sender) if is_same else None


def _encode(value: Json) -> bytes:
    return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else b""

"""BM25 alone, as a textbook has it: what the ranking has to be better than."""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Sequence

from bridge.search.ranking import Entry

K1, B = 1.2, 0.75


class Baseline:
    """Okapi BM25 over name, title, description and argument names as one text of lower-case words, Chinese by
    characters."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self._names = [entry.name for entry in entries]
        texts = [" ".join([e.plain_name, e.title, e.description, *e.arguments]) for e in entries]
        documents = [Counter(read(text)) for text in texts]
        average = sum(document.total() for document in documents) / len(documents)
        self._postings: dict[str, dict[int, float]] = defaultdict(dict)
        for place, document in enumerate(documents):
            norm = K1 * (1 - B + B * document.total() / average)
            for word, count in document.items():
                self._postings[word][place] = count * (K1 + 1) / (count + norm)

    def rank(self, wish: str) -> list[str]:
        scores: dict[int, float] = defaultdict(float)
        for word in read(wish):
            hits = self._postings.get(word, {})
            idf = math.log(1 + (len(self._names) - len(hits) + 0.5) / (len(hits) + 0.5))
            for place, score in hits.items():
                scores[place] += idf * score
        return [self._names[place] for place in sorted(scores, key=lambda place: (-scores[place], place))]


def read(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+|[\u3400-\u9fff]", text.lower())

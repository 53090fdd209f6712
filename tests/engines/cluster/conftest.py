"""A PostgreSQL for the tests of this folder."""

from collections.abc import Iterator

import pytest

from tests.engines.cluster.postgres import Postgres


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    """One that all tests of a file share."""
    with Postgres() as server:
        yield server

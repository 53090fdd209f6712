"""However a run goes, each of its calls has exactly one line of the audit: the tests of the loop, of its limits and of
faults, with an audit besides."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.audited import audited
from tests.faults.test_matrix import (  # noqa: F401
    test_a_refused_notice_of_a_cancelled_call_breaks_no_promise,
    test_no_fault_at_a_start_a_list_or_a_call_breaks_a_promise,
)
from tests.hub.test_approval import *  # noqa: F403
from tests.hub.test_calls import *  # noqa: F403
from tests.run.test_budgets import *  # noqa: F403
from tests.run.test_limits import *  # noqa: F403
from tests.run.test_loop import *  # noqa: F403
from tests.run.tools.test_find_tools import *  # noqa: F403
from tests.run.tools.test_read_output import *  # noqa: F403
from tests.upstream.test_faults import *  # noqa: F403

pytestmark = [pytest.mark.anyio, pytest.mark.rule("S29"), pytest.mark.external]


@pytest.fixture(autouse=True)
def audit(tmp_path: Path) -> Iterator[None]:
    with audited(tmp_path) as kept:
        yield
    assert kept.lines == kept.ended
    assert len({*kept.lines}) == len(kept.lines)

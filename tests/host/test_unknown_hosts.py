"""What a client may call the service: the names of `serve.allowed_hosts`, and what the log says of any other."""

import logging
from collections.abc import Sequence

import pytest

from tests.fakes.bridges import open_without_host
from tests.fakes.clock import VirtualClock
from tests.fakes.service import TOKEN, Served, serving

pytestmark = pytest.mark.anyio

NAME = "bridge.example.com"


async def ask(served: Served, host: str, *headers: tuple[str, str | bytes]) -> int:
    """The status of a request to `host`: 404 where it was let in."""
    sent = [("Host", host), ("Authorization", f"Bearer {TOKEN}"), *headers]
    return (await served.send("GET", "/nothing", sent)).status


def told(caplog: pytest.LogCaptureFixture) -> Sequence[str]:
    return [record.getMessage() for record in caplog.records if record.name == "bridge.host.unknown_hosts"]


@pytest.mark.rule("S2")
async def test_a_name_without_a_port_is_accepted_as_it_is_and_with_our_port() -> None:
    async with open_without_host(None) as bridge, serving(bridge, allowed_hosts=(NAME, "other.test:9")) as served:
        hosts = (NAME, f"{NAME}:{served.port}", f"{NAME}:1", "other.test:9", "other.test", f"other.test:{served.port}")
        assert [await ask(served, host) for host in hosts] == [404, 404, 421, 404, 421, 421]


async def test_a_service_on_every_address_is_known_by_its_loopback_names_too() -> None:
    """As a health check inside of a container asks for it."""
    async with open_without_host(None) as bridge, serving(bridge, host="0.0.0.0", allowed_hosts=(NAME,)) as served:
        hosts = (f"127.0.0.1:{served.port}", f"localhost:{served.port}", "127.0.0.1", f"0.0.0.0:{served.port}")
        assert [await ask(served, host) for host in hosts] == [404, 404, 421, 421]


async def test_a_refused_host_is_in_the_log_once_a_minute_with_what_to_add(caplog: pytest.LogCaptureFixture) -> None:
    clock = VirtualClock()
    with caplog.at_level(logging.WARNING):
        async with open_without_host(None) as bridge, serving(bridge, clock=clock) as served:
            for _ in range(3):
                assert await ask(served, f"{NAME}:8787") == 421
            assert told(caplog) == [
                f'a request for the Host "{NAME}:8787" was refused: if clients are to use that name, '
                f'add "{NAME}" to serve.allowed_hosts'
            ]
            await ask(served, "other.test")
            assert len(told(caplog)) == 2
            await clock.advance(61)
            await ask(served, f"{NAME}:8787")
            assert len(told(caplog)) == 3


async def test_a_proxy_that_does_not_pass_the_host_on_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    async with open_without_host(None) as bridge, serving(bridge) as served:
        await ask(served, "upstream_name", ("X-Forwarded-Host", NAME))
    [line] = told(caplog)
    assert line.endswith(f'a proxy was asked for "{NAME}": have it pass Host on, and add that to serve.allowed_hosts')


async def test_names_that_anybody_makes_up_do_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async with open_without_host(None) as bridge, serving(bridge, clock=VirtualClock()) as served:
        for number in range(30):
            await ask(served, f"{number}.evil.test")
        assert len(told(caplog)) == 20


async def test_what_is_no_name_is_shown_safely_and_not_to_be_added(caplog: pytest.LogCaptureFixture) -> None:
    async with open_without_host(None) as bridge, serving(bridge) as served:
        await ask(served, 'a"b')
        await ask(served, "x" * 5000)
    assert told(caplog)[0] == r'a request for the Host "a\"b" was refused: it is no host name'
    assert len(told(caplog)[1]) < 400

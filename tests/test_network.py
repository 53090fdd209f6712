"""Why a connection failed, in words: for the upstream and for the servers alike."""

import errno
import socket
import ssl

import httpx2
import pytest

from bridge.network import explain_network


def within(outer: Exception, *causes: BaseException) -> Exception:
    """`outer` as a library raises it: over these, one because of the next."""
    error: BaseException = outer
    for cause in causes:
        error.__cause__, error = cause, cause
    return outer


def untrusted() -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_message = "self-signed certificate"
    return error


REFUSED = ConnectionRefusedError(errno.ECONNREFUSED, "Connect call failed ('127.0.0.1', 9)")
SEVERAL = OSError(f"Multiple exceptions: [Errno {errno.ECONNREFUSED}] Connect call failed ('::1', 9), [Errno -2] x")
EOF = ssl.SSLEOFError(8, "EOF occurred in violation of protocol")
FAILED = OSError("All connection attempts failed")
UNKNOWN = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
LATER = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (within(httpx2.ConnectError("x"), FAILED, REFUSED), "connection refused"),
        (within(httpx2.ConnectError("x"), FAILED, ExceptionGroup("several", [REFUSED, UNKNOWN])), "connection refused"),
        (within(httpx2.ConnectError("x"), SEVERAL), "connection refused"),
        (within(httpx2.ConnectError("x"), UNKNOWN), "the name api.example is not known"),
        (within(httpx2.ConnectError("x"), LATER), "the name api.example is not known just now"),
        (
            within(httpx2.ConnectError("x"), untrusted()),
            "its certificate is not trusted: self-signed certificate; add it to the system's certificates, or to a "
            "bundle of all that SSL_CERT_FILE names",
        ),
        (
            within(httpx2.ConnectError("x"), ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number")),
            "it does not speak TLS there; write http:// instead of https://",
        ),
        (
            within(httpx2.ConnectError("x"), ssl.SSLEOFError(8, "EOF")),
            "it closed the connection during the TLS handshake",
        ),
        (within(httpx2.ConnectError("TLS"), ssl.SSLError(1, "something else")), "TLS"),
        (
            httpx2.ProxyError("407 Proxy Authentication Required"),
            "the proxy refuses: 407 Proxy Authentication Required",
        ),
        (httpx2.ConnectTimeout(""), "it did not answer in time"),
        (within(httpx2.ReadError(""), ConnectionResetError(errno.ECONNRESET, "gone")), "connection reset by peer"),
        (httpx2.RemoteProtocolError("it closed the connection"), "it closed the connection"),
        (httpx2.ReadError(""), "the connection was cut"),
    ],
)
def test_each_cause_has_its_words(error: Exception, words: str) -> None:
    assert explain_network(error, "api.example") == words


def test_the_name_is_that_of_the_request() -> None:
    request = httpx2.Request("GET", "https://api.example/v1")
    error = within(httpx2.ConnectError("x", request=request), UNKNOWN)
    assert explain_network(error) == "the name api.example is not known"
    assert explain_network(UNKNOWN) == "its name is not known"

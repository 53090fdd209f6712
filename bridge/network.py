"""Explanations of network errors, for people."""

import os
import re
import socket
import ssl
from collections.abc import Iterator
from contextlib import suppress

import httpx2

_PLAIN = (
    "WRONG_VERSION_NUMBER",
    "HTTP_REQUEST",
    "RECORD_LAYER_FAILURE",
    "PACKET_LENGTH_TOO_LONG",
    "UNEXPECTED_MESSAGE",
)
"""What OpenSSL makes of an answer that is not TLS."""
_TLS_RECORD = re.compile(r"illegal status line: bytearray\(b'\\x1[56]\\x03")


def explain_network(error: BaseException, host: str = "") -> str:
    """Explain a network error: refused, unknown name, untrusted certificate, timeout or cut connection.

    The explanation is that of the first error in its chain of causes that has one. `host` is the host it was about, if
    the error has no request. Where it is plain what would be right, that follows a semicolon.
    """
    host = host or _find_host(error)
    words = (_explain(cause, host) for cause in _trace(error))
    return next(filter(None, words), None) or str(error) or "the connection was cut"


def _find_host(error: BaseException) -> str:
    with suppress(RuntimeError):  # the error has no request
        return error.request.url.host if isinstance(error, httpx2.RequestError) else ""
    return ""


def _trace(error: BaseException | None) -> Iterator[BaseException]:
    """Yield the error and its chain of causes; of a group, only the first error."""
    while error is not None:
        yield error
        cause = error.__cause__ or error.__context__
        error = cause.exceptions[0] if isinstance(cause, BaseExceptionGroup) else cause


def _explain(error: BaseException, host: str) -> str | None:
    match error:
        case ssl.SSLCertVerificationError():
            return _explain_certificate(error.verify_message)
        case ssl.SSLError():
            return _explain_tls(error)
        case socket.gaierror(errno=number):
            suffix = " just now" if number == socket.EAI_AGAIN else ""
            return f"the name {host} is not known{suffix}" if host else f"its name is not known{suffix}"
        case httpx2.TimeoutException() | TimeoutError():
            return "it did not answer in time"
        case httpx2.ProxyError():
            return f"the proxy refuses: {error}"
        case httpx2.RemoteProtocolError():
            return _explain_protocol(str(error))
        case OSError():  # asyncio joins the errors of several addresses to one text
            number = re.search(r"\[Errno (\d+)\]", f"[Errno {error.errno}] {error}")
            return os.strerror(int(number[1])).lower() if number else None
        case _:
            return None


def _explain_certificate(fault: str) -> str:
    """Explain why a certificate is not accepted, and how to change that."""
    fault = fault.rstrip(".")
    folded = fault.lower()
    if "expired" in folded or "not yet valid" in folded:
        return f"its certificate is not accepted: {fault}; renew it there, or set the clock of this machine"
    if "mismatch" in folded:
        return f"its certificate is not accepted: {fault}; use the name that it was made for"
    return (
        f"its certificate is not trusted: {fault}; add it to the system's certificates, or to a bundle of all that "
        "SSL_CERT_FILE names"
    )


def _explain_tls(error: ssl.SSLError) -> str | None:
    reason = re.search(r"[A-Z][A-Z0-9]*_[A-Z0-9_]+", str(error))
    name = reason[0] if reason else ""
    if name in _PLAIN:
        return "it does not speak TLS there; write http:// instead of https://"
    if isinstance(error, ssl.SSLEOFError) or name.startswith("UNEXPECTED_EOF"):
        return "it closed the connection during the TLS handshake"
    if "CERTIFICATE_REQUIRED" in name:
        return "it wants a certificate of ours, which cannot be given"
    return f"TLS failed: {name.replace('_', ' ').lower()}" if name else None


def _explain_protocol(text: str) -> str | None:
    """Explain what the HTTP library says of a reply that breaks the protocol."""
    if _TLS_RECORD.search(text):
        return "it answered in TLS; write https:// instead of http://"
    if text.startswith("Server disconnected"):
        return "it closed the connection without an answer"
    return "it answered, but not in HTTP" if "illegal" in text.lower() else None

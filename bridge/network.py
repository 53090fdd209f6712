"""Explanations of network errors, for people."""

import os
import re
import socket
import ssl
from collections.abc import Iterator
from contextlib import suppress

import httpx2


def explain_network(error: BaseException, host: str = "") -> str:
    """Explain a network error: refused, unknown name, untrusted certificate, timeout or cut connection.

    The explanation is that of the first error in its chain of causes that has one. `host` is the host it was about, if
    the error has no request.
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
            return f"its certificate is not trusted: {error.verify_message}"
        case ssl.SSLError():
            return None
        case socket.gaierror(errno=number):
            suffix = " just now" if number == socket.EAI_AGAIN else ""
            return f"the name {host} is not known{suffix}" if host else f"its name is not known{suffix}"
        case httpx2.TimeoutException() | TimeoutError():
            return "it did not answer in time"
        case OSError():  # asyncio joins the errors of several addresses to one text
            number = re.search(r"\[Errno (\d+)\]", f"[Errno {error.errno}] {error}")
            return os.strerror(int(number[1])).lower() if number else None
        case _:
            return None

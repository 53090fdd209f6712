"""The in-process transport under the name that `bridge/app.py` still imports."""

from bridge.offline.app import OfflineTransport


def StreamingASGITransport(_app: object) -> OfflineTransport:
    return OfflineTransport()

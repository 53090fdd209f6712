from bridge.offline.app import OfflineTransport


def StreamingASGITransport(_app: object) -> OfflineTransport:
    return OfflineTransport()

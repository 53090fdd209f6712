"""`logout SERVER`: forgets the sign-in to a server."""

import os

from bridge.cli.setup import find_server
from bridge.config.settings import Config
from bridge.errors import BridgeError
from bridge.hub.sign_in.kept import forget, open_folder
from bridge.state import Unusable
from bridge.visible import show_name


def logout(key: str, config: Config) -> str:
    """Forget all that is kept of the sign-ins to a server, also one that the config does not have any more."""
    try:
        count = forget(key, open_folder(os.environ))
    except (OSError, Unusable) as error:
        raise BridgeError(f"logout: it cannot be removed: {error}") from None
    if count:
        return f"{show_name(key)}: signed out; its authority may still list this program as one that may sign in."
    find_server(config, key)
    return f"{show_name(key)}: nobody was signed in."

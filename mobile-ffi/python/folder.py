"""What the examples share: a folder with its key beside it, and a sentence for what goes wrong."""

import asyncio
import pathlib
import secrets
import sys

from endcap import Client, ClientError


def open_folder(name, make=False):
    """Opens a folder with the 32 random bytes in the file beside it that has its name and `.key`.

    An app keeps them in the Keystore or Keychain; without them the folder can never be read again.
    """
    folder = pathlib.Path(name).resolve()
    key = pathlib.Path(f"{folder}.key")
    if folder.exists() and not folder.is_dir():
        sys.exit(f"{folder} is a file: choose a folder")
    if make and not key.exists():
        folder.mkdir(parents=True, exist_ok=True)
        if not any(folder.iterdir()):
            key.touch(0o600)
            key.write_bytes(secrets.token_bytes(32))
    if not key.exists():
        sys.exit(f"{folder} has no key: quickstart.py makes a folder, and {key.name} beside it")
    return Client.open(str(folder), key.read_bytes())


def run(main, usage, *counts):
    """Runs an example with the words of its command line, as many as one of `counts`."""
    words = sys.argv[1:]
    if len(words) not in counts or {"-h", "--help"} & set(words):
        sys.exit(usage)
    try:
        asyncio.run(main(*words))
    except (ClientError, OSError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)

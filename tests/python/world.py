"""What the scripts of this suite share: the host that runs the server, and phones.

The host is the Rust test that has started the script. It reads commands as lines of JSON from the script's
standard output and answers on its standard input; unittest reports on standard error.
"""

import asyncio
import faulthandler
import json
import os
import pathlib
import random
import struct
import sys
import threading
import unittest
import zlib

import endcap
from endcap import Client, Found, Observation, Subject, Value

# A script that hangs says where, and fails.
faulthandler.dump_traceback_later(240, exit=True)

SCRATCH = pathlib.Path(os.environ["ENDCAP_SCRATCH"])

SHELF, PRICE, STOCK, DISPLAY, FLOOR, WORDS = range(1, 7)


def host(do, **arguments):
    print(json.dumps({"do": do, **arguments}), flush=True)
    answer = sys.stdin.readline()
    if not answer:
        raise SystemExit("the host is gone")
    return json.loads(answer)


_running = None


def start():
    """Starts the server, at the same address each time."""
    global _running
    _running = host("start")
    return _running


def stop():
    host("stop")


def office(do, **arguments):
    """Something that the office does, between two runs of the server."""
    host("stop")
    answer = host(do, **arguments)
    host("start")
    return answer


def key(name):
    return name.encode().ljust(32, b".")[:32]


def phone(name, code=None, org=0):
    """A phone of this person's, enrolled with a code if one is given."""
    client = Client.open(str(SCRATCH / f"phone-{org}-{name}"), key(name))
    if code:
        enrol(client, code, f"{name}'s phone")
    return client


def enrol(client, code, label):
    return asyncio.run(client.enrol(_running, code, label))


def codes(*names, org=0):
    return [host("code", person=name, org=org) for name in names]


def phones(*names):
    """Starts the server with a phone enrolled and synced for each person."""
    issued = codes(*names)
    start()
    clients = [phone(name, code) for name, code in zip(names, issued)]
    for client in clients:
        sync(client)
    return clients


def sync(client):
    return asyncio.run(client.sync())


def today(client):
    """Today's calls by the first word of the outlet's name, whatever the clock does meanwhile."""
    return {call.outlet.name.split()[0]: call for call in client.calls(host("today"))}


def facings(position, count):
    subject = Subject.POSITION(planogram=1, position=position)
    value = Value.SHELF(facings=count, in_stock=True, found=Found.AS_PLANNED())
    return Observation(check=SHELF, subject=subject, value=value)


def price(gtin, minor):
    return Observation(
        check=PRICE, subject=Subject.PRODUCT(gtin=gtin), value=Value.PRICE(minor=minor, currency="EUR")
    )


def stock(gtin, on_shelf):
    return Observation(check=STOCK, subject=Subject.PRODUCT(gtin=gtin), value=Value.STOCK(on_shelf=on_shelf))


def floor(option):
    return Observation(check=FLOOR, subject=Subject.OUTLET(), value=Value.CHOICE(option=option))


def words(text):
    return Observation(check=WORDS, subject=Subject.OUTLET(), value=Value.TEXT(text=text))


def values(visit, check, subject):
    """What is said of this subject."""
    [held] = [held for held in visit.values if held.check == check and held.subject == subject]
    return [said.value for said in held.said]


def picture(seed, width=640, height=480):
    """A PNG that no other seed gives."""

    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    noise = random.Random(seed).randbytes(3 * width + height)
    rows = b"".join(b"\0" + noise[y : y + 3 * width] for y in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 1)) + chunk(b"IEND", b"")


class Progress(endcap.Progress):
    """Remembers what it hears, and does something at the first of each phase."""

    def __init__(self, at_first=None):
        self.heard, self.at_first, self.lock = [], at_first or {}, threading.Lock()

    def at(self, phase, left):
        with self.lock:
            self.heard.append((phase, left))
            act = self.at_first.pop(phase, None)
        if act:
            act()


def main():
    unittest.main(module="__main__", verbosity=2)

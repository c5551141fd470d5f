"""The client as a process, told by the test what to do: `python3 phone.py FOLDER` reads commands as lines of
JSON and answers each with one. Bytes are in hexadecimal. It can also be made to misbehave."""

import json
import os
import random
import struct
import sys
import zlib

from client import *


def spoilt(data):
    return data[:-1] + bytes([data[-1] ^ 1])


def picture(seed, tile=80):
    """A grey PNG of 9 by 8 tiles, too noisy to be packed, and its difference hash (docs/data-model.md)."""
    chance = random.Random(seed)
    tiles = [[chance.randrange(192) for _ in range(9)] for _ in range(8)]
    rows = b""
    for line in tiles:
        for _ in range(tile):
            rows += b"\0" + b"".join(bytes(base + (n & 63) for n in chance.randbytes(tile)) for base in line)

    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", 9 * tile, 8 * tile, 8, 0, 0, 0, 0)
    file = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    bits = "".join(str(int(left < right)) for line in tiles for left, right in zip(line, line[1:]))
    return file, int(bits, 2).to_bytes(8, "big")


class Phone(Client):
    spoil_pages, spoil_seals_of = False, ()

    def send_push(self, message, sent, report):
        for (_, id), _, _, seals in message[3]:
            for seal in seals if id in self.spoil_seals_of else []:
                seal[1] = spoilt(seal[1])
        super().send_push(message, sent, report)

    def take(self, page):
        for _, _, _, seals in page[5] if self.spoil_pages else []:
            for seal in seals:
                seal[1] = spoilt(seal[1])
        super().take(page)


class Commands:
    def __init__(self, folder):
        self.phone = Phone(folder)

    def enrol(self, server, code):
        self.phone.enrol(server, code, "Second implementation")

    def sync(self, dies_uploading=False, spoil_pages=False, spoil_seals_of=()):
        self.phone.spoil_pages = spoil_pages
        self.phone.spoil_seals_of = [bytes.fromhex(visit) for visit in spoil_seals_of]
        offsets = []

        def uploading(offset):
            offsets.append(offset)
            if dies_uploading and offset:
                os._exit(1)

        try:
            return {**self.phone.sync(uploading), "offsets": offsets}
        except (Forged, Malformed, Problem) as refused:
            after_s = getattr(refused, "after_s", None)
            return {"refused": f"{type(refused).__name__}: {refused}", "after_s": after_s}

    def start(self, call):
        return self.phone.start_call(bytes.fromhex(call))

    def record(self, visit, observations, photo=None, settle=False):
        photos = [] if photo is None else [self.phone.add_photo(*picture(photo))]
        self.phone.observe(bytes.fromhex(visit), observations, photos, settle)
        return photos

    def words(self, visit, check, text):
        self.phone.observe(bytes.fromhex(visit), [(check, [4], [7, self.phone.note(text)])])

    def submit(self, visit):
        try:
            self.phone.submit(bytes.fromhex(visit))
        except Refused as refused:
            return {"refused": str(refused)}

    def propose(self, visit):
        self.phone.propose(bytes.fromhex(visit))

    def give_up(self, visit):
        self.phone.give_up(bytes.fromhex(visit))

    def fetch(self, photo):
        return sha256(self.phone.fetch_photo(bytes.fromhex(photo)))

    def lose_records(self, kind):
        """The disk has lost all of a kind, and has made up a display."""
        phone = self.phone
        phone.records = {key: raw for key, raw in phone.records.items() if key[0] != kind}
        phone.records[b"\7" + bytes(16)] = encode([7, {0: 0, 1: "Made up", 2: ""}])
        phone.save()

    def lose_changes(self, visit, left):
        """The disk has only so many of a visit's first changes, no notes, and believes that all are confirmed."""
        phone, document = self.phone, self.phone.visit_document(bytes.fromhex(visit))
        changes = list(document.changes.items())[:left]
        phone.documents[b"\0" + document.id] = less = Document(document.organisation, "visit", document.id)
        less.merge(dict(changes), {head: seal for head, seal in document.seals.items() if head in dict(changes)})
        phone.notes = {}
        phone.save()

    def lose_place(self):
        origin, sequence, root = self.phone.own["cursor"]
        self.phone.own["cursor"] = [origin, sequence, spoilt(root)]

    def visit(self, visit):
        visit = bytes.fromhex(visit)
        document, read = self.phone.visit_document(visit), self.phone.visit(visit)
        said = lambda held: [
            {"check": check, "subject": decode(subject), "said": sorted(self.said(value) for _, value in live)}
            for (check, subject), live in sorted(held.items())
        ]
        return {
            "status": read.status,
            "values": said(read.values),
            "conflicts": said(read.conflicts()),
            "recordings": list(read.recordings),
            "submitted": sorted(read.submitted),
            "heads": sorted(document.heads),
            "pending": len(document.pending),
            "refused": document.refused,
            "automerge": document.automerge(),
        }

    def said(self, value):
        kind, *rest = decode(value)
        return [kind, self.phone.words(rest[0])] if kind == 7 else [kind, *rest]

    def alarm_seen(self):
        self.phone.alarm_seen()
        return {}

    def held(self):
        phone = self.phone
        return {
            "records": len(phone.records),
            "cursor": phone.own["cursor"],
            "actor": phone.actor(),
            "log": phone.own["log"],
            "fingerprint": compared(ed25519.public(phone.own["seed"])),
            "outlets": sorted(outlet[0] for outlet in phone.records_of(OUTLET)),
            "documents": sorted(phone.documents),
            "notes": sorted(text for _, text in phone.notes.values()),
            "photos": sorted(path.name for path in (phone.folder / "photos").iterdir()),
        }


def main(folder):
    commands = Commands(folder)
    for line in sys.stdin:
        said = json.loads(line)
        answer = getattr(commands, said.pop("do"))(**said)
        print(json.dumps(answer, default=bytes.hex), flush=True)


main(sys.argv[1])

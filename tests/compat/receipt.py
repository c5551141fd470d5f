"""Checkpoints, the newest one that a device keeps, and what it notices: docs/protocol.md, section 15."""

import base64

import ed25519
from formats import *

NOTHING = [bytes(16), 0]


def key_id(name, kind, key):
    return sha256(name.encode() + b"\n" + bytes([kind]) + key)[:4]


def vkey(name, kind, key):
    return f"{name}+{key_id(name, kind, key).hex()}+{base64.b64encode(bytes([kind]) + key).decode()}"


def uuid(data):
    text = data.hex()
    return "-".join([text[:8], text[8:12], text[12:16], text[16:20], text[20:]])


def read_note(note, signers, what):
    """The text of a note that has these signatures and no others."""
    text, _, signatures = note.decode().rpartition("\n\n")
    text += "\n"
    lines = signatures.split("\n")
    need(lines.pop() == "" and len(lines) == len(signers), f"{what}: its signatures")
    for line, (who, kind, public) in zip(lines, signers):
        dash, named, signature = line.split(" ")
        raw = base64.b64decode(signature, validate=True)
        need(base64.b64encode(raw).decode() == signature, f"{what}: a signature's form")
        need(dash == "\u2014" and named == who and raw[:4] == key_id(who, kind, public), f"{what}: a signature's name")
        raw, message = raw[4:], text.encode()
        if kind == 4:
            seconds, raw = int.from_bytes(raw[:8], "big"), raw[8:]
            message = f"cosignature/v1\ntime {seconds}\n".encode() + message
        need(ed25519.verifies(public, message, raw), f"{what}: the signature of {who}")
    return text


def read_checkpoint(note, organisation, key, witnesses):
    """The life, size and root that a note's signatures, all of them, are over."""
    name = note.decode().split("\n", 1)[0]
    need(name.startswith(f"endcap.log/{uuid(organisation)}/"), "the checkpoint's name")
    signers = [(name, 1, key)]
    for witness in witnesses:
        who, id, packed = witness.split("+", 2)
        packed = base64.b64decode(packed, validate=True)
        need(vkey(who, packed[0], packed[1:]) == witness and packed[0] == 4, "a witness's key")
        signers.append((who, 4, packed[1:]))
    lines = read_note(note, signers, "the checkpoint").split("\n", 3)
    need(len(lines) == 4, "the checkpoint's lines")
    _, size, root, rest = lines
    need(rest == "" and size.isdecimal() and size == str(int(size)), "the checkpoint's text")
    raw = base64.b64decode(root, validate=True)
    need(base64.b64encode(raw).decode() == root and len(raw) == 32, "the checkpoint's root")
    return name, int(size), raw


class Alarm(Exception):
    pass


def note(organisation, cursor):
    """The text of a cursor's checkpoint."""
    origin, size, root = cursor
    name = f"endcap.log/{uuid(organisation)}/{uuid(origin)}"
    return f"{name}\n{size}\n{base64.b64encode(root).decode()}\n"


class Watch:
    """What it has kept, as the store keeps it: the log's key, the newest checkpoint's cursor and signature, what is
    wrong with the log, and how many lines of the checkpoint a restore has lost (None: that cannot be told)."""

    def __init__(self, organisation, kept):
        self.organisation, self.kept = organisation, kept

    @staticmethod
    def fresh(key):
        return {"key": key, "cursor": None, "signature": None, "alarm": None, "restored": None, "seen": [], "anew": False}

    def known(self):
        cursor = self._base()
        return cursor[:2] if cursor else NOTHING

    def _base(self):
        return None if self.kept["anew"] else self.kept["cursor"]

    def alarm_seen(self):
        """Somebody has looked into it: the evidence stays, and the next checkpoint is taken as the first was."""
        if self.kept["alarm"]:
            self.kept["seen"].append(self.kept["alarm"])
            self.kept.update(alarm=None, anew=True)

    def hear(self, cursor, receipt):
        """Takes in what came with a last page; what is wrong stays, beside both checkpoints."""
        if self.kept["alarm"]:
            return
        try:
            if receipt is None:
                if cursor != self._base():
                    raise Alarm("the log has gone on without a checkpoint, or gone back")
                return
            key = self._judge(cursor, receipt)
            self.kept.update(key=key, cursor=list(cursor), signature=receipt[0], anew=False)
        except (Alarm, Malformed, KeyError, IndexError, TypeError) as wrong:
            evidence = [str(wrong), list(cursor), receipt and receipt.get(0)]
            self.kept["alarm"] = evidence + [self.kept["cursor"], self.kept["signature"], self.kept["key"]]

    def _signed(self, key, cursor, receipt):
        if not ed25519.verifies(key, note(self.organisation, cursor).encode(), receipt[0]):
            raise Alarm("the checkpoint is not signed by the log's key")

    def _judge(self, cursor, receipt):
        """The key that signs from here on."""
        key, kept, path = self.kept["key"] or receipt[3], self._base(), receipt[1]
        if kept is None:
            told = receipt.get(3) if self.kept["anew"] else None
            self._signed(told or key, cursor, receipt)
            if told and told != key:
                self.kept["restored"] = [None]
            return told or key
        if kept[0] == cursor[0]:
            self._signed(key, cursor, receipt)
            if not continues(kept[1:], cursor[1:], path):
                raise Alarm("the log was rewritten")
            return key
        first = newest = None
        for sequence, leaf, place in receipt.get(2) or []:
            said = decode(leaf)
            size, root = said[3]
            within = includes(cursor[1], cursor[2], sequence, sha256(b"\0" + leaf), place)
            if said[0] != 0 or size != sequence or not within:
                raise Alarm("a life of the log is not in it")
            key, newest = said[4], said[1]
            first = first or (size, root)
        if newest != cursor[0]:
            raise Alarm("the log has another life and does not say so")
        self._signed(key, cursor, receipt)
        if kept[1] <= first[0] and continues(kept[1:], cursor[1:], path):
            self.kept["restored"] = [0]
        elif continues(first, cursor[1:], path):
            self.kept["restored"] = [kept[1] - first[0] if kept[1] > first[0] else None]
        else:
            raise Alarm("the log was rewritten")
        return key

"""The formats of docs/protocol.md: CBOR, chunks, seals, groups. Section numbers are those of the document."""

import hashlib
import struct
from collections import namedtuple

import ed25519

SECTIONS = {"visit": ["recordings", "submissions", "reviews", "thread"], "outlet": ["reports", "thread"]}
SECTION_NUMBERS = ["recordings", "submissions", "reviews", "thread", "reports"]
KINDS = ["visit", "outlet"]

Change = namedtuple("Change", "actor seq start_op deps section value")


class Malformed(Exception):
    pass


class Forged(Exception):
    pass


def sha256(data):
    return hashlib.sha256(data).digest()


def need(condition, what):
    if not condition:
        raise Malformed(what)


# ---- section 5: CBOR


class Array(list):
    """An array that remembers its bytes: what is not understood is compared and passed on as it came."""

    raw = b""


def encode(value):
    if value is None or isinstance(value, bool):
        return {False: b"\xf4", True: b"\xf5", None: b"\xf6"}[value]
    if isinstance(value, int):
        return _head(0, value) if value >= 0 else _head(1, -1 - value)
    if isinstance(value, bytes):
        return _head(2, len(value)) + value
    if isinstance(value, str):
        return _head(3, len(value.encode())) + value.encode()
    if isinstance(value, Array):
        return value.raw
    if isinstance(value, dict):
        return _head(5, len(value)) + b"".join(encode(k) + encode(v) for k, v in value.items())
    return _head(4, len(value)) + b"".join(map(encode, value))


def _head(major, n):
    if n < 24:
        return bytes([major << 5 | n])
    size = next(size for size in (1, 2, 4, 8) if n < 1 << 8 * size)
    return bytes([major << 5 | {1: 24, 2: 25, 4: 26, 8: 27}[size]]) + n.to_bytes(size, "big")


def decode(data):
    try:
        value, at = _item(data, 0)
    except (IndexError, KeyError, TypeError, UnicodeDecodeError, struct.error, RecursionError) as error:
        raise Malformed("no CBOR") from error
    need(at == len(data), "something follows")
    return value


BREAK = object()


def _item(data, start):
    major, low, at = data[start] >> 5, data[start] & 31, start + 1
    if low < 24:
        n = low
    elif low == 31:
        n = None
    else:
        size = {24: 1, 25: 2, 26: 4, 27: 8}[low]
        n, at = int.from_bytes(data[at : at + size], "big"), at + size
    if major == 7:
        simple = {20: False, 21: True, 22: None, 23: None, 31: BREAK}
        if low in (25, 26, 27):
            form = {25: ">e", 26: ">f", 27: ">d"}[low]
            return struct.unpack(form, data[start + 1 : at])[0], at
        return simple[low], at
    if major in (0, 1):
        return (n if major == 0 else -1 - n), at
    if major in (2, 3) and n is not None:
        raw = bytes(data[at : at + n])
        need(len(raw) == n, "cut off")
        return (raw if major == 2 else raw.decode()), at + n
    if major == 6:
        value, at = _item(data, at)
        return (n, value), at
    items, left = Array(), None if n is None else n * (2 if major == 5 else 1)
    while left != 0:
        value, at = _item(data, at)
        if value is BREAK and left is None:
            break
        need(value is not BREAK, "a break")
        items.append(value)
        left = left if left is None else left - 1
    if major == 4:
        items.raw = bytes(data[start:at])
        return items, at
    if major == 5:
        return dict(zip(items[::2], items[1::2])), at
    return (b"" if major == 2 else "").join(items), at


# ---- section 6: chunks


def uleb(n):
    out = bytearray()
    while True:
        n, low = n >> 7, n & 127
        out.append(low | (128 if n else 0))
        if not n:
            return bytes(out)


def sleb(n):
    out = bytearray()
    while True:
        low, n = n & 127, n >> 7
        done = (n == 0 and not low & 64) or (n == -1 and low & 64)
        out.append(low | (0 if done else 128))
        if done:
            return bytes(out)


def chunk(contents):
    """The chunk and its hash."""
    covered = b"\x01" + uleb(len(contents)) + contents
    digest = sha256(covered)
    return bytes.fromhex("856f4a83") + digest[:4] + covered, digest


def contents(deps, actor, seq, start_op, others, columns):
    out = uleb(len(deps)) + b"".join(deps)
    out += uleb(len(actor)) + actor + uleb(seq) + uleb(start_op) + sleb(0) + uleb(0)
    out += uleb(len(others)) + b"".join(uleb(len(other)) + other for other in others)
    out += uleb(len(columns)) + b"".join(uleb(spec) + uleb(len(data)) for spec, data in columns)
    return out + b"".join(data for _, data in columns)


def volume(outlet, number):
    """Section 6: the id of a volume of an outlet's history."""
    if number == 0:
        return outlet
    id = bytearray(sha256(b"endcap volume v1\0" + outlet + number.to_bytes(4, "big"))[:16])
    id[6], id[8] = id[6] & 0x0F | 0x80, id[8] & 0x3F | 0x80
    return bytes(id)


def genesis(organisation, kind, id):
    sections = SECTIONS[kind]
    keys = ["organisation", "kind", "id", "schema"] + sections
    n, s, name = len(keys), len(sections), kind.encode()
    columns = [
        (0x15, sleb(-n) + b"".join(uleb(len(key)) + key.encode() for key in keys)),
        (0x34, uleb(n)),
        (0x42, b"\x04\x01" + uleb(s) + b"\x02"),
        (0x56, b"\x7c\x87\x02" + bytes([len(name) << 4 | 6]) + b"\x87\x02\x13" + uleb(s) + b"\x00"),
        (0x57, organisation + name + id + b"\x01"),
        (0x70, uleb(n) + b"\x00"),
    ]
    return chunk(contents([], b"endcap", 1, 1, [], columns))


def change_chunk(kind, change):
    columns = [
        (0x01, b"\x7f\x01"),
        (0x02, b"\x7f" + uleb(5 + SECTIONS[kind].index(change.section))),
        (0x13, b"\x7f\x00"),
        (0x34, b"\x00\x01"),
        (0x42, b"\x7f\x01"),
        (0x56, b"\x7f" + uleb(16 * len(change.value) + 7)),
        (0x57, change.value),
        (0x70, b"\x7f\x00"),
    ]
    return chunk(contents(change.deps, change.actor, change.seq, change.start_op, [b"endcap"], columns))


# ---- section 10: seals


def fingerprint(key):
    return sha256(key)[:8]


def seal_message(organisation, kind, id, head):
    return b"endcap seal v1\0" + organisation + bytes([KINDS.index(kind)]) + id + head


# ---- section 11: groups


def read_group(organisation, group, keys):
    """The document and its changes by hash. Each must be reached by a seal of the key, by fingerprint, that
    its actor belongs to."""
    try:
        (number, id), actors, packed, seals = group
        kind, changes = KINDS[number], {}
        _, first = genesis(organisation, kind, id)
        need(actors == sorted(set(actors)), "the order of a group's actors")
        for actor, seq, start_op, parents, section, value in packed:
            hashes = list(changes)
            deps = [p if isinstance(p, bytes) else first if p == 0 else hashes[-p] for p in parents]
            deps = sorted(set(deps))
            need(1 <= len(deps) == len(parents) <= 64, "a change's parents")
            change = Change(actors[actor], seq, start_op, deps, SECTION_NUMBERS[section], value)
            need(len(change.actor) == 16 and not change.actor.startswith(b"endcap"), "an actor")
            need(1 <= seq <= 1 << 24 and start_op <= 1 << 24 and len(value) <= 64 << 10, "a limit")
            changes[change_chunk(kind, change)[1]] = change
        need(len(changes) == len(packed), "a change twice")
        signed = [(list(changes)[place], signature) for place, signature in seals]
    except (IndexError, TypeError, ValueError) as error:
        raise Malformed("a group") from error
    covered = set()
    for head, signature in signed:
        signer = changes[head].actor[:8]
        message = seal_message(organisation, kind, id, head)
        if signer not in keys or not ed25519.verifies(keys[signer], message, signature):
            raise Forged(f"a seal of {kind} {id.hex()}")
        reached = past(changes, [head])
        covered |= {hash for hash in reached if changes[hash].actor[:8] == signer}
    if covered != set(changes):
        raise Forged(f"unsealed work in {kind} {id.hex()}")
    return kind, id, changes


def write_group(organisation, kind, id, changes, sign):
    """`changes` are a device's own by hash, parents first; `sign` signs with its key."""
    _, first = genesis(organisation, kind, id)
    actors = sorted({change.actor for change in changes.values()})
    places = {hash: place for place, hash in enumerate(changes)}
    parent = lambda place, dep: 0 if dep == first else place - places[dep] if dep in places else dep
    packed = []
    for place, change in enumerate(changes.values()):
        parents = [parent(place, dep) for dep in change.deps]
        section = SECTION_NUMBERS.index(change.section)
        packed.append([actors.index(change.actor), change.seq, change.start_op, parents, section, change.value])
    reached = {dep for change in changes.values() for dep in change.deps}
    heads = [hash for hash in changes if hash not in reached]
    seals = [[places[head], sign(seal_message(organisation, kind, id, head))] for head in heads]
    return [[KINDS.index(kind), id], actors, packed, seals]


def past(changes, heads):
    """The heads that are in `changes`, and all their ancestors there."""
    waiting, seen = list(heads), set()
    while waiting:
        hash = waiting.pop()
        if hash in changes and hash not in seen:
            seen.add(hash)
            waiting += changes[hash].deps
    return seen


# ---- section 15: the log


def tree(leaves):
    if len(leaves) < 2:
        return leaves[0] if leaves else sha256(b"")
    k = 1
    while 2 * k < len(leaves):
        k *= 2
    return sha256(b"\x01" + tree(leaves[:k]) + tree(leaves[k:]))

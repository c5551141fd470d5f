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


class Lacking(Malformed):
    """Something does not fit because a key or a parent is missing here."""


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

    raw, definite = b"", True


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
        items.raw, items.definite = bytes(data[start:at]), n is not None
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


def compared(key):
    """A key as people compare it."""
    digits = sha256(key)[:10].hex()
    return " ".join(digits[at : at + 4] for at in range(0, 20, 4))


def seal_message(organisation, kind, id, head):
    return b"endcap seal v1\0" + organisation + bytes([KINDS.index(kind)]) + id + head


# ---- section 11: groups


def _of(things, place):
    need(type(place) is int and 0 <= place < len(things), "a place that is not in the group")
    return things[place]


def _bytes(value, length):
    need(isinstance(value, bytes) and len(value) == length, f"not {length} bytes")
    return value


def parse_group(organisation, group):
    """The document's kind and id, its changes by hash, and the signatures by head."""
    try:
        (number, id), actors, packed, seals = group
        arrays = [group, group[0], actors, packed, seals, *packed, *(change[3] for change in packed), *seals]
        need(all(array.definite for array in arrays), "an array without a length")
        kind, changes = _of(KINDS, number), {}
        _, first = genesis(organisation, kind, _bytes(id, 16))
        need(actors == sorted({_bytes(actor, 16) for actor in actors}), "the order of a group's actors")
        for actor, seq, start_op, parents, section, value in packed:
            hashes = [first] + list(changes)[::-1]
            deps = [_bytes(p, 32) if isinstance(p, bytes) else _of(hashes, p) for p in parents]
            deps = sorted(set(deps))
            need(1 <= len(deps) == len(parents) <= 64, "a change's parents")
            change = Change(_of(actors, actor), seq, start_op, deps, _of(SECTION_NUMBERS, section), value)
            need(not change.actor.startswith(b"endcap"), "an actor")
            need(1 <= seq <= 1 << 24 and 1 <= start_op <= 1 << 24 and len(value) <= 64 << 10, "a limit")
            need(isinstance(value, bytes) and change.section in SECTIONS[kind], "a section")
            changes[change_chunk(kind, change)[1]] = change
        need(len(changes) == len(packed) and len(seals) <= len(packed), "a change twice, or too many seals")
        need(packed, "a group without a change")
        signed = {_of(list(changes), place): _bytes(signature, 64) for place, signature in seals}
    except (AttributeError, IndexError, TypeError, ValueError) as error:
        raise Malformed("a group") from error
    return kind, id, changes, signed


def read_group(organisation, group, keys):
    """The same. Each change must be reached by a seal of the key, by fingerprint, that its actor belongs to."""
    kind, id, changes, signed = parse_group(organisation, group)
    if any(change.actor[:8] not in keys for change in changes.values()):
        raise Lacking(f"a device that wrote in {kind} {id.hex()}")
    covered = set()
    for head, signature in signed.items():
        signer = changes[head].actor[:8]
        if not ed25519.verifies(keys[signer], seal_message(organisation, kind, id, head), signature):
            raise Forged(f"a seal of {kind} {id.hex()}")
        reached = past(changes, [head])
        covered |= {hash for hash in reached if changes[hash].actor[:8] == signer}
    if covered != set(changes):
        raise Forged(f"unsealed work in {kind} {id.hex()}")
    return kind, id, changes, signed


def write_group(organisation, kind, id, changes, signers, kept):
    """`changes` by hash, parents first. `signers` sign, by fingerprint, for changes of one's own; those of others
    are covered by the signatures that are kept, by head."""
    _, first = genesis(organisation, kind, id)
    actors = sorted({change.actor for change in changes.values()})
    places = {hash: place for place, hash in enumerate(changes)}
    parent = lambda place, dep: 0 if dep == first else place - places[dep] if dep in places else dep
    packed = []
    for place, change in enumerate(changes.values()):
        parents = [parent(place, dep) for dep in change.deps]
        section = SECTION_NUMBERS.index(change.section)
        packed.append([actors.index(change.actor), change.seq, change.start_op, parents, section, change.value])
    signed = {head: kept[head] for head in kept if head in changes}
    for fingerprint, sign in signers.items():
        own = [hash for hash in changes if changes[hash].actor[:8] == fingerprint]
        reached = set()
        for head in reversed(own):
            if head not in reached:
                signed[head] = sign(seal_message(organisation, kind, id, head))
                reached |= past(changes, [head])
    return [[KINDS.index(kind), id], actors, packed, [[places[head], signature] for head, signature in signed.items()]]


def past(changes, heads):
    """The heads that are in `changes`, and all their ancestors there."""
    waiting, seen = list(heads), set()
    while waiting:
        hash = waiting.pop()
        if hash in changes and hash not in seen:
            seen.add(hash)
            waiting += changes[hash].deps
    return seen


# ---- section 16: records


def record_key(raw):
    """The kind, one byte, and the id's 16."""
    record = decode(raw)
    need(isinstance(record, list) and len(record) > 1 and isinstance(record[1], dict), "a record")
    kind, body = record[:2]
    need(type(kind) is int and 0 <= kind <= 255 and next(iter(body), None) == 0, "a record's key")
    id = body[0]
    return bytes([kind]) + (id.to_bytes(16, "big") if type(id) is int and id >= 0 else _bytes(id, 16))


# ---- section 15: the log


def node(left, right):
    return sha256(b"\x01" + left + right)


def includes(size, root, index, leaf, path):
    """RFC 9162, 2.1.3.2."""
    if index >= size:
        return False
    place, last, value = index, size - 1, leaf
    for other in path:
        if last == 0:
            return False
        if place & 1 or place == last:
            value = node(other, value)
            while place & 1 == 0 and place != 0:
                place, last = place >> 1, last >> 1
        else:
            value = node(value, other)
        place, last = place >> 1, last >> 1
    return last == 0 and value == root


def continues(older, newer, path):
    """RFC 9162, 2.1.4.2: each is a size and a root."""
    (size, root), (newer_size, newer_root) = older, newer
    if size in (0, newer_size):
        return not path and (root == newer_root if size else root == sha256(b""))
    if size > newer_size:
        return False
    path = list(path) if size & (size - 1) else [root, *path]
    if not path:
        return False
    place, last = size - 1, newer_size - 1
    while place & 1:
        place, last = place >> 1, last >> 1
    old = new = path[0]
    for other in path[1:]:
        if last == 0:
            return False
        if place & 1 or place == last:
            old, new = node(other, old), node(other, new)
            while place & 1 == 0 and place != 0:
                place, last = place >> 1, last >> 1
        else:
            new = node(new, other)
        place, last = place >> 1, last >> 1
    return last == 0 and (old, new) == (root, newer_root)


def tree(leaves):
    if len(leaves) < 2:
        return leaves[0] if leaves else sha256(b"")
    k = 1
    while 2 * k < len(leaves):
        k *= 2
    return sha256(b"\x01" + tree(leaves[:k]) + tree(leaves[k:]))

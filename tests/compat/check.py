"""Computes the golden bytes of fixtures/ from docs/protocol.md alone: a second implementation, as small as it
goes. `python3 check.py FIXTURES`; needs Python 3.8 and nothing else. Section numbers are those of the document."""

import hashlib
import json
import pathlib
import sys

SECTIONS = {"visit": ["recordings", "submissions", "reviews", "thread"], "outlet": ["reports", "thread"]}
SECTION_NUMBERS = ["recordings", "submissions", "reviews", "thread", "reports"]
KINDS = ["visit", "outlet"]


def sha256(data):
    return hashlib.sha256(data).digest()


def same(what, computed, written):
    if computed != written:
        shown = [x.hex() if isinstance(x, bytes) else x for x in (computed, written)]
        sys.exit(f"{what}:\n  computed from the document  {shown[0]}\n  in the fixture              {shown[1]}")


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


def change(kind, actor, seq, start_op, deps, section, value):
    columns = [
        (0x01, b"\x7f\x01"),
        (0x02, b"\x7f" + uleb(5 + SECTIONS[kind].index(section))),
        (0x13, b"\x7f\x00"),
        (0x34, b"\x00\x01"),
        (0x42, b"\x7f\x01"),
        (0x56, b"\x7f" + uleb(16 * len(value) + 7)),
        (0x57, value),
        (0x70, b"\x7f\x00"),
    ]
    return chunk(contents(deps, actor, seq, start_op, [b"endcap"], columns))


# ---- section 5: as much CBOR as it takes


def decode(data):
    value, at = item(data, 0)
    assert at == len(data), "something follows"
    return value


def item(data, at):
    major, low = data[at] >> 5, data[at] & 31
    at += 1
    if major == 7:
        return {20: False, 21: True, 22: None}[low], at
    if low < 24:
        n = low
    else:
        size = {24: 1, 25: 2, 26: 4, 27: 8}[low]
        n, at = int.from_bytes(data[at : at + size], "big"), at + size
    if major == 0:
        return n, at
    if major == 1:
        return -1 - n, at
    if major in (2, 3):
        raw = data[at : at + n]
        return (raw if major == 2 else raw.decode()), at + n
    if major == 4:
        out = []
        for _ in range(n):
            value, at = item(data, at)
            out.append(value)
        return out, at
    assert major == 5
    out = {}
    for _ in range(n):
        key, at = item(data, at)
        out[key], at = item(data, at)
    return out, at


# ---- section 10: Ed25519 as RFC 8032 has it, to verify only

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P


def add(a, b):
    e, f = (a[1] - a[0]) * (b[1] - b[0]) % P, (a[1] + a[0]) * (b[1] + b[0]) % P
    c, d = 2 * a[3] * b[3] * D % P, 2 * a[2] * b[2] % P
    e, f, g, h = f - e, d - c, d + c, f + e
    return e * f % P, g * h % P, f * g % P, e * h % P


def times(n, point):
    out = (0, 1, 1, 0)
    while n:
        if n & 1:
            out = add(out, point)
        point, n = add(point, point), n >> 1
    return out


def point(data):
    y = int.from_bytes(data, "little")
    sign, y = y >> 255, y & (1 << 255) - 1
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    assert (x * x - square) % P == 0 and y < P, "no point"
    x = P - x if x & 1 != sign else x
    return x, y, 1, x * y % P


BASE = point((4 * pow(5, P - 2, P) % P).to_bytes(32, "little"))


def verifies(key, message, signature):
    r, s = signature[:32], int.from_bytes(signature[32:], "little")
    k = int.from_bytes(hashlib.sha512(r + key + message).digest(), "little") % L
    left, right = times(s, BASE), add(point(r), times(k, point(key)))
    return s < L and all((left[i] * right[2] - right[i] * left[2]) % P == 0 for i in (0, 1))


def seal_message(organisation, kind, id, head):
    return b"endcap seal v1\0" + organisation + bytes([kind]) + id + head


# ---- sections 11 to 13: messages


def group(organisation, group, keys):
    """The hashes of a group's changes. Each must be reached by a seal of the key that its actor belongs to."""
    (kind, id), actors, changes, seals = group
    name = KINDS[kind]
    _, first = genesis(organisation, name, id)
    same("the order of a group's actors", actors, sorted(set(actors)))
    hashes, parents = [], {}
    for place, (actor, seq, start_op, deps, section, value) in enumerate(changes):
        resolved = []
        for dep in deps:
            back = place - dep if isinstance(dep, int) else None
            resolved.append(dep if back is None else first if dep == 0 else hashes[back])
        resolved.sort()
        section = SECTION_NUMBERS[section]
        hashes.append(change(name, actors[actor], seq, start_op, resolved, section, value)[1])
        parents[hashes[-1]] = resolved
    places, covered = {digest: place for place, digest in enumerate(hashes)}, set()
    for place, signature in seals:
        fingerprint = actors[changes[place][0]][:8]
        head, key = hashes[place], keys[fingerprint]
        if not verifies(key, seal_message(organisation, kind, id, head), signature):
            sys.exit(f"a seal does not verify: {name} {id.hex()}")
        open, seen = [head], set()
        while open:
            digest = open.pop()
            if digest in places and digest not in seen:
                seen.add(digest)
                open += parents[digest]
                if actors[changes[places[digest]][0]][:8] == fingerprint:
                    covered.add(digest)
    same("the changes that seals cover", sorted(covered), sorted(hashes))
    return [digest.hex() for digest in hashes]


def learn(keys, record):
    kind, body = record[0], record[1]
    if kind == 3:
        keys[sha256(body[2])[:8]] = body[2]


# ---- section 15: the log


def tree(leaves):
    if len(leaves) < 2:
        return leaves[0] if leaves else sha256(b"")
    k = 1
    while 2 * k < len(leaves):
        k *= 2
    return sha256(b"\x01" + tree(leaves[:k]) + tree(leaves[k:]))


def main(fixtures):
    load = lambda name: json.loads((fixtures / name).read_text())
    hexed = bytes.fromhex
    count = {"geneses": 0, "changes": 0, "groups": 0, "seals": 0, "leaves": 0}

    for case in load("documents/geneses.json"):
        document = case["document"]
        made, digest = genesis(hexed(case["organisation"]), document["kind"], hexed(document["id"]))
        same("a genesis", made, hexed(case["chunk"]))
        same("a genesis' hash", digest, hexed(case["hash"]))
        count["geneses"] += 1

    for case in load("documents/documents.json"):
        kind, id = case["document"]["kind"], hexed(case["document"]["id"])
        _, first = genesis(hexed(case["organisation"]), kind, id)
        ops, heads, newest = {first: 4 + len(SECTIONS[kind])}, {first}, {}
        for one in case["changes"]:
            parts = {k: hexed(v) if k in ("actor", "value") else v for k, v in one["parts"].items()}
            parts["deps"] = [hexed(dep) for dep in parts["deps"]]
            same("deps ascend", parts["deps"], sorted(parts["deps"]))
            same("start_op", parts["start_op"], 1 + max(ops[dep] for dep in parts["deps"]))
            same("seq", parts["seq"], newest.get(parts["actor"], 0) + 1)
            made, digest = change(kind, **parts)
            same(f"a change ({one['what']})", made, hexed(one["chunk"]))
            same("a change's hash", digest, hexed(one["hash"]))
            newest[parts["actor"]], ops[digest] = parts["seq"], parts["start_op"]
            heads = heads - set(parts["deps"]) | {digest}
            count["changes"] += 1
        same("heads", [head.hex() for head in sorted(heads)], case["heads"])

    sealed = load("wire/seals.json")
    keys = {}
    for case in sealed["seals"]:
        key, document = hexed(case["public_key"]), case["document"]
        same("a fingerprint", sha256(key)[:8], hexed(case["fingerprint"]))
        keys[sha256(key)[:8]] = key
        kind = KINDS.index(document["kind"])
        message = seal_message(hexed(case["organisation"]), kind, hexed(document["id"]), hexed(case["head"]))
        same("the length of what a seal signs", len(message), 80)
        same("a seal", verifies(key, message, hexed(case["signature"])), True)
        same("a forged seal", verifies(key, message[:-1] + b"x", hexed(case["signature"])), False)
        count["seals"] += 1
    for case in sealed["proofs"]:
        message = b"endcap enrol v1\0" + case["code"].encode()
        same("a proof", verifies(hexed(case["public_key"]), message, hexed(case["signature"])), True)

    log, leaves = load("wire/log.json"), []
    for case in log["leaves"]:
        leaves.append(sha256(b"\x00" + hexed(case["leaf"])))
        same("a leaf hash", leaves[-1], hexed(case["hash"]))
    for size, root in enumerate(log["roots"]):
        same(f"the root over {size} leaves", tree(leaves[:size]), hexed(root))
    record_leaves = [decode(hexed(c["leaf"])) for c in log["leaves"] if c["what"] == "record"]
    count["leaves"] = len(leaves)

    records = load("wire/records.json")
    for case, leaf in zip(records, record_leaves):
        record = decode(hexed(case["record"]))
        name = record[1][0]
        name = name if isinstance(name, bytes) else name.to_bytes(16, "big")
        same("a record's key", (record[0], name.hex()), (case["kind"], case["id"]))
        same("a record's leaf", leaf[1:4], [record[0], name, sha256(b"\x63" * 16 + hexed(case["record"]))])

    def message(path, request, organisation, raw):
        body = decode(raw)
        same("the first key of a message", (next(iter(body)), body[0]), (0, 1))
        for record in body[4] if path.endswith("pull") and not request else []:
            learn(keys, decode(record))
        at = {(True, "push"): 3, (False, "pull"): 5}.get((request, path.split("/")[-1]))
        groups = body[at] if at else []
        count["groups"] += len(groups)
        return [group(organisation, one, keys) for one in groups]

    for case in load("wire/messages.json"):
        found = message(case["path"], case["request"], hexed(case["organisation"]), hexed(case["message"]))
        same(f"the hashes in {case['what']}", found, case["groups"])

    exchange = load("wire/exchange.json")
    organisation, name_of, known = hexed(exchange["organisation"]), {}, {}
    for step in exchange["steps"]:
        request, response = hexed(step["request"]), hexed(step["response"])
        same("what was pushed", message(step["path"], True, organisation, request), step["pushed"])
        same("what was pulled", message(step["path"], False, organisation, response), step["pulled"])
        if step["path"].endswith("push"):
            same("the name of a push", sha256(request), decode(response)[2])
            same("the push before", decode(request).get(2), name_of.get(step["who"]))
            name_of[step["who"]] = decode(response)[2]
        else:
            same("the cursor", decode(request).get(1), known.get(step["who"]))
            known[step["who"]] = decode(response)[2]

    print("docs/protocol.md gives the same bytes:", ", ".join(f"{n} {what}" for what, n in count.items()))


main(pathlib.Path(sys.argv[1]))

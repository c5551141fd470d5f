"""Computes the golden bytes of fixtures/ from docs/protocol.md alone, with the second implementation beside it.
`python3 check.py FIXTURES`; needs Python 3.9 and nothing else."""

import json
import pathlib
import sys

import refused
import rights
import view
from ed25519 import sign, verifies
from formats import *
from hpke import opened
from repair import Inventory, record_digest


def same(what, computed, written):
    if computed != written:
        shown = [x.hex() if isinstance(x, bytes) else x for x in (computed, written)]
        sys.exit(f"{what}:\n  computed from the document  {shown[0]}\n  in the fixture              {shown[1]}")


def learn(keys, record):
    kind, body = record[0], record[1]
    if kind == 3:
        keys[fingerprint(body[2])] = body[2]


def messages(line):
    """What was said on a line between two devices."""
    found = []
    while line:
        length = int.from_bytes(line[:4], "big")
        found.append(decode(line[4 : 4 + length]))
        line = line[4 + length :]
    return found


def main(fixtures):
    load = lambda name: json.loads((fixtures / name).read_text())
    hexed = bytes.fromhex
    count = dict.fromkeys(["geneses", "volumes", "changes", "groups", "seals", "leaves", "parcels"], 0)

    for case in load("documents/geneses.json"):
        document = case["document"]
        made, digest = genesis(hexed(case["organisation"]), document["kind"], hexed(document["id"]))
        same("a genesis", made, hexed(case["chunk"]))
        same("a genesis' hash", digest, hexed(case["hash"]))
        count["geneses"] += 1

    for case in load("documents/volumes.json"):
        same("a volume's id", volume(hexed(case["outlet"]), case["number"]), hexed(case["id"]))
        count["volumes"] += 1

    ends = {}
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
            made, digest = change_chunk(kind, Change(**parts))
            same(f"a change ({one['what']})", made, hexed(one["chunk"]))
            same("a change's hash", digest, hexed(one["hash"]))
            newest[parts["actor"]], ops[digest] = parts["seq"], parts["start_op"]
            heads = heads - set(parts["deps"]) | {digest}
            said = decode(parts["value"]).get({"thread": 4, "reports": 9}.get(parts["section"], -1))
            same("who says which volume", said is not None, case["name"] == "volume" and parts["seq"] == 1)
            if said:
                same("the volume of an entry", volume(said[0], said[1]), id)
                same("the heads of the volume before", set(said[2]), ends[volume(said[0], said[1] - 1)])
            count["changes"] += 1
        ends[id] = heads
        same("heads", [head.hex() for head in sorted(heads)], case["heads"])

    sealed = load("wire/seals.json")
    keys = {}
    for case in sealed["seals"]:
        key, document = hexed(case["public_key"]), case["document"]
        same("a fingerprint", fingerprint(key), hexed(case["fingerprint"]))
        same("what people compare", compared(key), case["compared"])
        keys[fingerprint(key)] = key
        message = seal_message(hexed(case["organisation"]), document["kind"], hexed(document["id"]), hexed(case["head"]))
        same("the length of what a seal signs", len(message), 80)
        same("a seal as it is made", sign(hexed(case["seed"]), message), hexed(case["signature"]))
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

    prints = load("wire/prints.json")
    held = {}
    for case in prints["items"]:
        item, parts = hexed(case["item"]), [hexed(part) for part in case["parts"]]
        held[item] = parts if item[0] else [record_digest(item[1:], part) for part in parts]
    inventory = Inventory(held)
    same("a print", inventory.sum(held), hexed(prints["print"]))
    same("a print's name", inventory.whole(), hexed(prints["name"]))
    for case in prints["contents"]:
        expected = inventory.content(*decode(hexed(case["part"])))
        same("what is in a part", decode(hexed(case["content"])), expected)
    count["prints"] = len(prints["contents"])

    def message(path, request, organisation, raw):
        body = decode(raw)
        same("the first key of a message", (next(iter(body)), body[0]), (0, 1))
        for record in body[4] if path.split("/")[-1] in ("pull", "repair") and not request else []:
            learn(keys, decode(record))
        at = {(True, "push"): 3, (False, "pull"): 5, (False, "repair"): 5}.get((request, path.split("/")[-1]))
        groups = body[at] if at else []
        count["groups"] += len(groups)
        return [[hash.hex() for hash in read_group(organisation, one, keys)[2]] for one in groups]

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

    relay = load("wire/relay.json")
    organisation, server = hexed(relay["organisation"]), hexed(relay["server_seed"])
    phones = [{k: hexed(v) for k, v in phone.items()} for phone in relay["phones"]]
    keys = {fingerprint(phone["public_key"]): phone["public_key"] for phone in phones}
    for case in relay["parcels"]:
        parcel, phone = hexed(case["parcel"]), phones[0]
        origin, signature, enc, sealed = parcel[:16], parcel[16:80], parcel[80:112], parcel[112:]
        same("a parcel's name", sha256(parcel), hexed(case["name"]))
        same("a parcel's origin", origin, phone["device"])
        label = b"endcap parcel v1\0" + organisation + origin + sha256(enc + sealed)
        same("a parcel's signature", sign(phone["seed"], label), signature)
        info = b"endcap cargo v1\0" + organisation
        cargo = opened(server, hexed(relay["server_key"]), enc, info, origin, sealed)
        same("what is in a parcel", cargo, hexed(case["cargo"]))
        same("a parcel of another", opened(server, hexed(relay["server_key"]), enc, info, bytes(16), sealed), None)
        body = decode(cargo)
        same("the protocol in a parcel", body[0], 1)
        if "photo" in case:
            same("a photo in a parcel", body, {0: 1, 3: hexed(case["photo"])})
        else:
            hashes = [h.hex() for h in read_group(organisation, body[1], keys)[2]]
            same("the changes in a parcel", hashes, case["changes"])
        count["parcels"] += 1
    said = [messages(phone["said"]) for phone in phones]
    for me, other, mine, others in ((*phones, *said), (*phones[::-1], *said[::-1])):
        same("a hello", mine[0][:4], [0, 1, organisation, me["device"]])
        sides = [me["device"], mine[0][4], me["public_key"], other["device"], others[0][4], other["public_key"]]
        same("a proof", mine[1], [1, sign(me["seed"], b"endcap meet v1\0" + organisation + b"".join(sides))])
        for stored in (m for m in mine if m[0] == 6):
            message = b"endcap stored v1\0" + organisation + me["device"] + others[0][4] + stored[1]
            same("an acknowledgement", sign(me["seed"], message), stored[2])
    offered = [[sha256(m[1]), phones[0]["device"], len(m[1])] for m in said[0] if m[0] == 4]
    same("an offer", said[0][2], [2, offered])
    same("what is asked for", [m for m in said[1] if m[0] == 3], [[3, [name for name, *_ in offered]]])
    same("what comes first", ["photo" in case for case in relay["parcels"]], [False, True])
    same("the ends", [m.count([8]) for m in said], [1, 1])
    others = [messages(hexed(one))[0] for one in relay["other_messages"]]
    same("other messages", others, [[5, b"\1" * 32], [7, b"\1" * 32, "full"], [9, "stranger"]])
    same("cargo", decode(hexed(relay["request"])), {0: 1, 1: [hexed(relay["parcels"][0]["parcel"])]})
    same("the answer to it", decode(hexed(relay["reply"]))[2], [[0], [1, "bad_seal", "why"], [2]])

    count["refused"] = refused.check(load("wire/refused.json"), relay)
    count["views"] = view.check(load("wire/views.json"))
    count["decisions"] = rights.check(load("wire/rights.json"))
    print("docs/protocol.md gives the same bytes:", ", ".join(f"{n} {what}" for what, n in count.items()))


main(pathlib.Path(sys.argv[1]))

"""What fixtures/wire/refused.json says is refused, by the second implementation."""

import ed25519
from document import Document, Misfit
from entry import Invalid, Unreadable, keeps_rules, read
from formats import *
from hpke import opened
from messages import TooLarge, Unsupported, read_answer, read_request
from receipt import Watch, read_checkpoint

HEX = bytes.fromhex


def unpacked(pieces):
    return HEX(pieces) if isinstance(pieces, str) else b"".join(HEX(piece) * times for piece, times in pieces)


def entry(organisation, case, data):
    keeps_rules(case["section"], read(case["section"], data))


def misfit(organisation, case, data):
    kind, id, changes, _ = parse_group(organisation, decode(data))
    document = Document(organisation, kind, id)
    *before, last = changes.values()
    for change in before:
        document.insert(change)
    try:
        document.insert(last)
    except Misfit as misfit:
        return misfit.code


def sealed(organisation, case, data):
    read_group(organisation, decode(data), {fingerprint(HEX(key)): HEX(key) for key in case["keys"]})


def signature(organisation, case, data):
    message = seal_message(bytes(16), "visit", bytes(16), bytes(32))
    if not ed25519.verifies(HEX(case["public_key"]), message, data):
        raise Forged("a signature")


def request(organisation, case, data):
    # Whether a log was at a cursor only its server knows.
    read_request(organisation, case["path"], data)
    return case["expected"] if case["expected"] == "cursor_unknown" else None


def receipt(organisation, case, data):
    kept = {**Watch.fresh(HEX(case["log_key"])), "cursor": decode(HEX(case["kept"]))}
    Watch(organisation, kept).hear(decode(HEX(case["cursor"])), decode(data))
    return "alarm" if kept["alarm"] else "taken"


def parcel(relay):
    """As the server that the fixture of the meeting is of."""
    organisation, server = HEX(relay["organisation"]), HEX(relay["server_seed"])
    keys = {HEX(phone["device"]): HEX(phone["public_key"]) for phone in relay["phones"]}

    def judge(_, case, data):
        need(128 <= len(data) <= 1 << 20, "a parcel's length")
        origin, signature, enc, text = data[:16], data[16:80], data[80:112], data[112:]
        label = b"endcap parcel v1\0" + organisation + origin + sha256(enc + text)
        if not ed25519.verifies(keys[origin], label, signature):
            raise Forged("a parcel")
        info = b"endcap cargo v1\0" + organisation
        cargo = opened(server, HEX(relay["server_key"]), enc, info, origin, text)
        if cargo is None:
            return "not_opened"
        body = decode(cargo)
        if body[0] != 1:
            return "later"
        try:
            parse_group(organisation, body[1])
        except Malformed:
            return "unreadable"

    return judge


CODES = {
    Malformed: "malformed",
    Unreadable: "unreadable",
    Invalid: "invalid",
    Forged: "bad_seal",
    Lacking: "foreign_actor",
    TooLarge: "too_large",
    Unsupported: "protocol_unsupported",
}


def check(cases, relay):
    """How many cases there are; each is refused as it says."""
    organisation = HEX(cases["organisation"])
    judges = {
        "requests": request,
        "answers": lambda _, case, data: read_answer(case["path"], data),
        "groups": lambda organisation, _, data: parse_group(organisation, decode(data)),
        "misfits": misfit,
        "sealed": sealed,
        "signatures": signature,
        "entries": entry,
        "records": lambda _, case, data: record_key(data),
        "parcels": parcel(relay),
        "receipts": receipt,
        "checkpoints": lambda organisation, case, data: read_checkpoint(data, organisation, HEX(case["log_key"]), []),
    }
    for name, judge in judges.items():
        for case in cases[name]:
            try:
                found = judge(organisation, case, unpacked(case["bytes"]))
                found = found if isinstance(found, str) else "taken"
            except tuple(CODES) as refused:
                found = CODES[type(refused)]
            if found != case["expected"]:
                raise AssertionError(f"{name}, {case['why']}: {found} instead of {case['expected']}")
    return sum(len(cases[name]) for name in judges)

"""Checks a proof bundle from docs/proof-bundle.md and docs/protocol.md alone; Python's own library is all that it needs.

    python3 tests/compat/bundle.py FILE [KEY]
    python3 tests/compat/bundle.py --flips FILE

The first says whether FILE holds, and what. KEY is the log's key, as `endcap log-key` prints it behind the name of the
organisation: without it nothing says that the log is theirs. The second flips every byte, and behind the sums of the
container every so-manieth, and says which of these bundles is taken all the same.

It exits with 0 if the bundle holds, with 1 if it does not, with 2 if it could not be looked at.
"""

import functools
import struct
import sys
import unicodedata
import zlib

import ed25519
from document import Document, Misfit, named
from formats import *
from receipt import read_checkpoint, read_note, uuid, vkey

SAME = struct.pack("<5H", 10, 0, 0, 0, 0x21)
NAMES = ["summary.txt", "checkpoint.txt", "proof.cbor", "contents.txt"]
# Kinds of records.
DEVICE, ERASED = 3, 12
NOTE_BYTES = 4000
# Behind the sums a flip costs milliseconds, and twenty where it makes for another signature to verify.
STEP = 7
WRONG = (Malformed, Forged, Misfit, ValueError, KeyError, TypeError, IndexError, AttributeError)


def unzip(data):
    files, at = [], 0
    while data[at : at + 4] == b"PK\x03\x04":
        need(len(data) >= at + 30, "the container")
        crc, length, _ = struct.unpack_from("<3I", data, at + 14)
        name_length = struct.unpack_from("<H", data, at + 26)[0]
        name = data[at + 30 : at + 30 + name_length]
        at += 30 + name_length
        body = data[at : at + length]
        need(zlib.crc32(body) == crc, f"{name.decode(errors='replace')}: its bytes")
        files.append((name, body))
        at += length
    need(zip_again(files) == data, "the container")
    return files


def zip_again(files):
    out, central = b"", b""
    for name, body in files:
        header = SAME + struct.pack("<3I", zlib.crc32(body), len(body), len(body))
        central += b"PK\x01\x02" + struct.pack("<H", 10) + header
        central += struct.pack("<7HI", len(name), 0, 0, 0, 0, 0, 0, len(out)) + name
        out += b"PK\x03\x04" + header + struct.pack("<2H", len(name), 0) + name + body
    end = b"PK\x05\x06" + struct.pack("<4H2IH", 0, 0, len(files), len(files), len(central), len(out), 0)
    return out + central + end


def plain(value):
    if isinstance(value, list):
        return [plain(item) for item in value]
    return {key: plain(value[key]) for key in sorted(value)} if isinstance(value, dict) else value


def read(data):
    value = decode(data)
    need(encode(plain(value)) == data, "CBOR in another form")
    return value


def members(value, those, others=()):
    need(set(value) - set(others) == set(those), "a member that is not known, or one that lacks")
    need(None not in value.values(), "a null member")


def kind_of(picture):
    kinds = {b"\xff\xd8": "jpg", b"\x89PNG": "png", b"RIFF": "webp"}
    return next((kind for magic, kind in kinds.items() if picture.startswith(magic)), "bin")


def ascending(values):
    return all(before < after for before, after in zip(values, values[1:]))


def known_at(lives, size, moment):
    """How many lines of the log a device says to have known, section 18; `lives` are names and first lines."""
    anchor, life = moment[3], moment[5] if len(moment) > 5 else None
    if life is None:
        return min(anchor, size)
    ends = [begins for _, begins in lives[1:]] + [size]
    known = [min(anchor, end, size) for (name, _), end in zip(lives, ends) if name == life]
    return known[-1] if known else 0


def verify(data):
    """The visit's document, the log's key, and how many lines of the log the checkpoint is over."""
    files = unzip(data)
    names = [name.decode() for name, _ in files]
    need(names[:4] == NAMES, "the files")
    proof = read(files[2][1])
    need(proof[0] == 8, "the version")
    members(proof, range(7))
    organisation, visit, key, lines = proof[1], proof[2], proof[3], proof[4]
    name_of_log, size, root = read_checkpoint(files[1][1], organisation, key, proof[6])
    changes, devices, bare, last, lives, named_key = [], {}, [], -1, [], None
    for line in lines:
        sequence, leaf, body, salt, seal = line[0], line[1], line.get(3), line.get(4), line.get(5)
        members(line, range(3), range(3, 6))
        need(sequence > last, "the order of the lines")
        last = sequence
        need(includes(size, root, sequence, sha256(b"\0" + leaf), line[2]), f"line {sequence}")
        said = decode(leaf)
        if said[0] == 1 and body is not None:
            need(said[1] == [0, visit] and salt is None, "another visit")
            changes.append((sequence, said, read(body), seal))
        elif said[0] == 2 and body is not None:
            need(len(salt) == 16 and seal is None, f"the salt of line {sequence}")
            need(sha256(salt + body) == said[3], f"the record of line {sequence}")
            if said[1] == DEVICE:
                kind, device = decode(body)
                need(kind == DEVICE, f"the record of line {sequence}")
                devices[said[2]] = device
        else:
            need(body is None and salt is None and seal is None, f"line {sequence} holds too much")
            need(said[0] != 1 or said[1] != [0, visit], f"line {sequence} lacks its change")
            if said[0] == 2:
                bare.append((sequence, (said[1], said[2])))
            if said[0] == 0:
                lives.append((said[1], sequence))
                named_key = said[4]
    need(lives and lives[0][1] == 0, "the line with which the log begins")
    need(name_of_log.endswith("/" + uuid(lives[-1][0])), "the life of the log")
    need(named_key == key, "the key that the log names")
    lives = [(int.from_bytes(origin[:4], "big"), begins) for origin, begins in lives]
    here = {line[0] for line in lines}
    document, seals, words, told = Document(organisation, "visit", visit), [], set(), set()
    for sequence, said, parts, seal in changes:
        actor, seq, start_op, deps, section, value = parts
        change = Change(actor, seq, start_op, list(deps), SECTION_NUMBERS[section], value)
        hash = document.insert(change)
        need(hash == said[2], f"the change of line {sequence}")
        device = devices[said[3]]
        need(fingerprint(device[2]) == actor[:8], f"the device of line {sequence}")
        entry = decode(value)
        server = device[1] == bytes(16)
        need(server or entry[0] == device[1], f"the person of line {sequence}")
        if seal is not None:
            message = seal_message(organisation, "visit", visit, hash)
            need(ed25519.verifies(device[2], message, seal), f"the seal of line {sequence}")
            seals.append(hash)
        anchor = known_at(lives, sequence, entry[1])
        need(anchor == 0 or anchor - 1 in here, f"the anchor of line {sequence}")
        words |= digests(entry)
        about = named(change)
        told |= {(DEVICE, said[3]), (ERASED, entry[0])}
        told |= {(ERASED, digest[:16]) for digest in about.notes + about.photos}
    for sequence, record in bare:
        need(record not in told, f"line {sequence} lacks its record")
    covered = set()
    for head in seals:
        signer = document.changes[head].actor[:8]
        covered |= {h for h in past(document.changes, [head]) if document.changes[h].actor[:8] == signer}
    need(changes and covered == set(document.changes), "unsealed work")
    notes = [note(*pair) for pair in proof[5]]
    need(set(notes) <= words, "a note")
    need(ascending(notes), "the order of the notes")
    photos = [sha256(body) for _, body in files[4:]]
    need(set(photos) <= words, "a photo")
    need(ascending(photos), "the order of the photos")
    for digest, (name, body) in zip(photos, files[4:]):
        need(name.decode() == f"photos/{digest.hex()}.{kind_of(body)}", "the name of a photo")
    here = [f"{sha256(body).hex()}  {name.decode()}" for name, body in files[:3] + files[4:]]
    listed = read_note(files[3][1], [(name_of_log, 1, key)], "the contents").split("\n")
    need(listed == [f"endcap.proof/{uuid(organisation)}/{uuid(visit)}"] + here + [""], "the contents")
    return document, vkey(name_of_log, 1, key), size


def note(salt, text):
    need(len(salt) == 16 and 0 < len(text.encode()) <= NOTE_BYTES, "a note's salt or length")
    need(all(c in "\n\t" or unicodedata.category(c) != "Cc" for c in text), "a note's characters")
    return sha256(salt + text.encode())


def digests(value):
    """Every hash that an entry names: notes and photos among them."""
    if isinstance(value, bytes):
        return {value} if len(value) == 32 else set()
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    return set().union(*map(digests, items)) if items else set()


def bent(data, at):
    return data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :]


def flips(data):
    """Bundles of which one byte is another, each with what that byte is."""
    for at in range(len(data)):
        yield f"byte {at}", bent(data, at)
    files = unzip(data)
    for place, (name, body) in enumerate(files):
        for at in range(0, len(body), STEP):
            flipped = files[:place] + [(name, bent(body, at))] + files[place + 1 :]
            yield f"byte {at} of {name.decode()}", zip_again(flipped)


def flip(data):
    ed25519.verifies = functools.lru_cache(ed25519.verifies)
    for what, bundle in flips(data):
        try:
            verify(bundle)
        except WRONG:
            continue
        sys.exit(f"{what} is taken")
    print("No bundle with another byte is taken.")


def check(data, file, expected=None):
    try:
        document, key, size = verify(data)
    except (Malformed, Forged, Misfit) as wrong:
        sys.exit(f"{file} does not hold. What is wrong: {wrong}.")
    except WRONG:
        sys.exit(f"{file} does not hold: it is not in the form of a proof bundle.")
    if expected not in (None, key):
        sys.exit(f"{file} does not hold for the key that you gave: its log's key is {key}.")
    whose = "the log's key is the one that you gave" if expected else f"compare the log's key with your own: {key}"
    changes = len(document.changes)
    print(f"{file} holds: visit {uuid(document.id)}, {changes} changes, in a log of {size} lines; {whose}.")


def main():
    words = sys.argv[1:]
    if words in (["-h"], ["--help"]):
        print(__doc__.strip())
        return
    flipping = words[:1] == ["--flips"]
    files = words[1:] if flipping else words
    if not 1 <= len(files) <= (1 if flipping else 2) or files[0].startswith("-"):
        print(__doc__.strip(), file=sys.stderr)
        sys.exit(2)
    try:
        with open(files[0], "rb") as file:
            data = file.read()
    except OSError as error:
        print(f"{files[0]} cannot be read: {error.strerror}.", file=sys.stderr)
        sys.exit(2)
    if flipping:
        flip(data)
    else:
        check(data, *files)


if __name__ == "__main__":
    main()

"""Messages of docs/protocol.md, sections 12, 13 and 15: whether they are of their shape."""

import itertools

from entry import *

GROUPS_MAX, NOTES_MAX, PARTS_MAX, WANTED_MAX, LISTED_MAX = 2000, 10_000, 2000, 2000, 16


class TooLarge(Exception):
    pass


class Unsupported(Exception):
    pass


def exact(*shapes):
    def check(value):
        struct(*shapes)(value)
        reads(value.definite and len(value) == len(shapes), "an exact length")

    return check


def words(value):
    text(value)
    control = any(unicodedata.category(letter) == "Cc" and letter not in "\n\t" for letter in value)
    reads(1 <= len(value.encode()) <= 4000 and not control, "a note's text")


def item(value):
    size(18)(value)
    reads(value[0] == 0 or value[0] == 1 and value[1] in (0, 1), "an item")


def part(value):
    exact(integer(0, 16), uint64)(value)
    reads(value[1] >> 4 * value[0] == 0, "a part's prefix")


def content(value):
    if isinstance(value, bytes):
        return size(128)(value)
    of_type(list)(value)
    reads(value.definite and len(value) % 2 == 0 and len(value) <= 2 * LISTED_MAX, "what is in a part")
    many(item)(value[::2])
    many(size(8))(value[1::2])


data, group = of_type(bytes), of_type(list)
note = exact(size(16), words)
doc = struct(integer(0, 1), id)
cursor = struct(id, uint64, hash)
filled = struct(uint64, uint64)
outcome = kinds([], [text, text, maybe(many(hash))], [])
decided = struct(doc, hash, outcome)
key = struct(integer(0, 255), id)
life = struct(uint64, data, many(hash))
receipt = table({0: size(64), 1: many(hash), 2: maybe(many(life)), 3: maybe(size(32))})
given = {4: many(data), 5: many(group), 6: many(note)}
REQUESTS = {
    "push": {1: moment, 2: maybe(hash), 3: many(group), 4: many(note)},
    "pull": {1: maybe(cursor), 2: maybe(hash), 3: maybe(filled), 4: maybe(struct(id, uint64)), 5: maybe(uint64)},
    "repair": {1: many(part), 2: many(item)},
}
ANSWERS = {
    "push": {1: int64, 2: hash, 3: many(outcome)},
    "pull": {
        1: int64,
        2: cursor,
        3: boolean,
        **given,
        7: maybe(filled),
        8: maybe(many(key)),
        9: maybe(many(decided)),
        10: maybe(size(8)),
        11: maybe(many(doc)),
        12: maybe(receipt),
    },
    "repair": {1: int64, 2: many(content), 3: uint64, **given},
}
LIMITS = {"push": {3: GROUPS_MAX, 4: NOTES_MAX}, "pull": {}, "repair": {1: PARTS_MAX, 2: WANTED_MAX}}


def _read(shapes, name, raw):
    body = decode(raw)
    need(isinstance(body, dict) and next(iter(body), None) == 0 and type(body[0]) is int, "no version")
    if body[0] != 1:
        raise Unsupported(body[0])
    try:
        table(shapes[name])(body)
    except Unreadable as unreadable:
        raise Malformed(f"a {name}: {unreadable}") from unreadable
    return body


def read_answer(path, raw):
    return _read(ANSWERS, path.rsplit("/", 1)[1], raw)


def read_request(organisation, path, raw):
    name = path.rsplit("/", 1)[1]
    body = _read(REQUESTS, name, raw)
    if any(len(body[member]) > most for member, most in LIMITS[name].items()):
        raise TooLarge(name)
    if name == "push":
        documents = [parse_group(organisation, group)[:2] for group in body[3]]
        runs = [document for document, _ in itertools.groupby(documents)]
        need(len(set(runs)) == len(runs), "groups of one document, and another's between")
    return body

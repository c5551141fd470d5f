"""Entries of docs/protocol.md, section 7: whether they read, and whether they keep their rules."""

import unicodedata

from formats import *


class Unreadable(Exception):
    pass


class Invalid(Exception):
    pass


def reads(condition, what):
    if not condition:
        raise Unreadable(what)


def rule(condition, what):
    if not condition:
        raise Invalid(what)


# ---- shapes: each is a function that refuses a value of another


def integer(low, high):
    return lambda value: reads(type(value) is int and low <= value <= high, "an integer")


def of_type(type):
    return lambda value: reads(isinstance(value, type), f"no {type.__name__}")


def size(length):
    return lambda value: reads(isinstance(value, bytes) and len(value) == length, f"not {length} bytes")


def maybe(shape):
    return lambda value: value is None or shape(value)


def many(shape):
    def check(value):
        of_type(list)(value)
        for item in value:
            shape(item)

    return check


def struct(*shapes):
    def check(value):
        of_type(list)(value)
        for place, shape in enumerate(shapes):
            shape(value[place] if place < len(value) else None)

    return check


def table(members):
    def check(value):
        of_type(dict)(value)
        for key, shape in members.items():
            shape(value.get(key))

    return check


def kinds(*shapes):
    def check(value):
        of_type(list)(value)
        reads(value and type(value[0]) is int and 0 <= value[0] < len(shapes), "an unknown kind")
        struct(*shapes[value[0]])(value[1:])

    return check


def known(shapes):
    """What is not among them is kept whole."""

    def check(value):
        of_type(list)(value)
        reads(value.definite and value, "no length")
        uint32(value[0])
        for shape, item in zip(shapes.get((value[0], len(value)), []), value[1:]):
            shape(item)

    return check


uint32, uint64 = integer(0, 2**32 - 1), integer(0, 2**64 - 1)
int16, int32, int64 = (integer(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) for bits in (16, 32, 64))
boolean, text, id, hash = of_type(bool), of_type(str), size(16), size(32)
moment = struct(int64, uint32, uint64, uint64, maybe(int64), maybe(uint32))
geo = struct(int32, int32, maybe(uint32), maybe(boolean))
versioned = struct(uint32, uint32)
made_from = struct(hash, maybe(int64), maybe(int16), maybe(geo), maybe(text), maybe(int64))
photo = struct(hash, uint32, size(8), maybe(uint32), maybe(made_from))
volume_begun = struct(id, uint32, many(hash))


def gtin(value):
    integer(1, 10**14 - 1)(value)
    digits = [int(digit) for digit in f"{value:014}"]
    reads((3 * sum(digits[::2]) + sum(digits[1::2])) % 10 == 0, "a GTIN's check digit")


def currency(value):
    text(value)
    reads(len(value) == 3 and all("A" <= letter <= "Z" for letter in value), "a currency")


# By kind and length.
SUBJECTS = {(0, 3): [uint32, uint32], (1, 2): [gtin], (2, 2): [hash], (3, 2): [uint32], (4, 1): []}
VALUES = {
    (0, 3): [uint32, boolean],
    (0, 4): [uint32, boolean, maybe(uint32)],
    (1, 3): [int64, currency],
    (2, 2): [boolean],
    (2, 3): [boolean, uint32],
    (3, 2): [boolean],
    (4, 2): [uint32],
    (5, 2): [boolean],
    (6, 2): [int64],
    (7, 2): [hash],
    (8, 1): [],
}
subject, value = known(SUBJECTS), known(VALUES)


def said(array, known):
    """A subject's or value's bytes, to be compared: as it came if its kind or length is not known."""
    return encode(list(array)) if (array[0], len(array)) in known else array.raw


def observed_pairs(body):
    """The checks and subjects, and the values, of an observe act's observations."""
    runs, subjects, values = body[3]
    checks = [check for check, count in zip(runs[::2], runs[1::2]) for _ in range(count)]
    pairs = [(check, said(subject, SUBJECTS)) for check, subject in zip(checks, subjects)]
    return list(zip(pairs, [said(value, VALUES) for value in values]))


def observations(columns):
    many(of_type(list))(columns)
    reads(len(columns) == 3 and all(one.definite for one in [columns, *columns]), "three columns")
    runs, subjects, values = columns
    many(uint32)(runs[::2])
    many(integer(1, 1000))(runs[1::2])
    reads(len(runs) % 2 == 0 and sum(runs[1::2]) <= 1000, "run lengths")
    reads(sum(runs[1::2]) == len(subjects) == len(values), "columns of one length")
    many(subject)(subjects)
    many(value)(values)


def word(said):
    of_type(list)(said)
    reads(said.definite and len(said) >= 2, "a word")
    about = struct(uint32, subject)
    contest = table({0: maybe(about), 1: many(hash), 2: maybe(value), 3: many(photo)})
    kinds([contest], [integer(0, 4), many(photo)])(said)


observed = table(
    {0: versioned, 1: many(versioned), 2: maybe(versioned), 3: observations, 4: many(photo), 5: many(hash)}
)
act = kinds(
    [id, maybe(id), id, id, versioned],
    [observed],
    [integer(0, 4), maybe(hash), many(photo)],
    [many(hash)],
    [],
)
SHAPES = {
    "recordings": table({0: id, 1: moment, 2: maybe(geo), 3: act}),
    "submissions": table({0: id, 1: moment, 2: maybe(geo)}),
    "reviews": table({0: id, 1: moment, 2: integer(0, 1), 3: many(hash), 4: maybe(hash)}),
    "thread": table({0: id, 1: moment, 2: hash, 3: maybe(hash), 4: maybe(volume_begun), 5: maybe(word)}),
    "reports": table(
        {
            0: id,
            1: moment,
            2: maybe(geo),
            3: text,
            4: text,
            5: id,
            6: id,
            7: maybe(hash),
            8: many(photo),
            9: maybe(volume_begun),
        }
    ),
}


def read(section, data):
    """The entry, if it reads."""
    try:
        entry = decode(data)
    except Malformed as malformed:
        raise Unreadable(str(malformed)) from malformed
    SHAPES[section](entry)
    return entry


# ---- rules


def on_the_map(place):
    rule(place is None or abs(place[0]) <= 180_000_000 and abs(place[1]) <= 90_000_000, "a position")


def few_photos(photos):
    rule(len(photos) <= 20, "photos")
    for photo in photos:
        made = photo[4] if len(photo) > 4 else None
        place, editor = ((made or []) + [None] * 5)[3:5]
        on_the_map(place)
        if editor is not None:
            printable(editor, 40)


def names(named, least):
    rule(least <= len(named) <= 256 and len(set(named)) == len(named), "names")


def sound(value):
    kind, length = value[0], len(value)
    if kind == 0 and length in (3, 4):
        rule(value[1] <= 100_000 and (value[1] > 0 or length == 3), "facings")
    elif kind == 1 and length == 3:
        rule(1 <= value[1] <= 10**11, "a price")
    elif kind == 2 and length == 3:
        rule(value[2] <= 100_000 and not (value[1] and value[2] == 0), "units")


def printable(text, most):
    control = any(unicodedata.category(letter) == "Cc" for letter in text)
    rule(text.strip() and len(text) <= most and not control, "a name")


def begins(volume):
    if volume:
        number, before = volume[1:3]
        rule(1 <= number <= 1000 and 1 <= len(before) <= 64 and before == sorted(set(before)), "a volume")


def keeps_rules(section, entry):
    """Those that need no document."""
    if section in ("recordings", "submissions", "reports"):
        on_the_map(entry.get(2))
    if section == "recordings":
        kind, *act = entry[3]
        if kind == 1:
            body, pairs = act[0], [pair for pair, _ in observed_pairs(act[0])]
            rule(pairs or body[4], "nothing is observed")
            rule(len(set(pairs)) == len(pairs), "a pair twice")
            rule(len(body[1]) <= 256, "planograms")
            names(body[5], 0)
            few_photos(body[4])
            for one in body[3][2]:
                sound(one)
        elif kind == 2:
            rule(act[0] != 4 or act[1] is not None, "a reason without words")
            few_photos(act[2])
        elif kind == 3:
            names(act[0], 1)
    elif section == "reviews":
        names(entry[3], 1)
    elif section == "thread":
        begins(entry.get(4))
        kind, said = (entry.get(5) or [None, None])[:2]
        if kind == 0:
            about, claim = said.get(0), said.get(2)
            names(said[1], 1)
            few_photos(said[3])
            if claim is not None:
                rule(about is not None and not (claim[0] == 7 and len(claim) == 2), "a claim")
                sound(claim)
        elif kind == 1:
            rule(entry.get(3) is not None, "a step that answers nothing")
            few_photos(entry[5][2])
    elif section == "reports":
        printable(entry[3], 120)
        printable(entry[4], 240)
        begins(entry.get(9))
        few_photos(entry[8])

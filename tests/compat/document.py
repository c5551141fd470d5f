"""Documents of docs/protocol.md: sections 6 and 7."""

import contextlib
from collections import namedtuple

from entry import Unreadable, read
from formats import *

Named = namedtuple("Named", "by notes photos observations")

START, OBSERVE, NOT_POSSIBLE, WITHDRAW, ABANDON = range(5)


# What of a document a device writes, with what it leaves free, and what of that one person: changes, bytes, observations.
ROOM = (4096 - 64, (4 << 20) - (512 << 10), 50_000 - 1_000)
SHARE = (3072 - 32, (3 << 20) - (256 << 10), 37_500 - 500)


class Misfit(Exception):
    """A change that does not fit; `code` says why."""

    def __init__(self, code):
        super().__init__(code)
        self.code = code


# What may be taken once what is lacking has come.
EARLY = "foreign_actor", "missing_parent", "missing_note"


class Document:
    def __init__(self, organisation, kind, id):
        self.organisation, self.kind, self.id = organisation, kind, id
        self.chunk, self.genesis = genesis(organisation, kind, id)
        self.changes, self.heads = {}, {self.genesis}
        # The signatures that came with others' changes, by head.
        self.seals = {}
        # What the server has not confirmed; and why it will not, [code, detail].
        self.pending, self.refused = set(), None
        # Whether all of it was brought to the server, which keeps apart what it refused; what a server refused that has
        # lost part of its log since.
        self.apart, self.doubted = False, set()
        # What the server has and what has no place here.
        self.passed = set()
        # To be dropped once all is confirmed; out of sight until then; not listed by the server in a repair.
        self.gone = self.hidden = self.astray = False

    def start_op(self, deps):
        ops = lambda dep: 4 + len(SECTIONS[self.kind]) if dep == self.genesis else self.changes[dep].start_op
        return 1 + max(map(ops, deps))

    def newest(self, actor):
        own = [(change.seq, hash) for hash, change in self.changes.items() if change.actor == actor]
        return max(own, default=(0, None))

    def insert(self, change):
        """Section 6, "When a change fits"."""
        _, hash = change_chunk(self.kind, change)
        if hash in self.changes:
            return hash
        if len(self.changes) >= 4096:
            raise Misfit("full")
        if any(dep != self.genesis and dep not in self.changes for dep in change.deps):
            raise Misfit("missing_parent")
        seq, before = self.newest(change.actor)
        if change.seq <= seq:
            raise Misfit("forked")
        known = change.section in SECTIONS[self.kind]
        follows = change.seq == seq + 1 and (before is None or before in past(self.changes, change.deps))
        if not (known and follows and change.start_op == self.start_op(change.deps)):
            raise Misfit("malformed")
        self.changes[hash] = change
        self.heads = self.heads - set(change.deps) | {hash}
        return hash

    def write(self, actor, section, entry):
        """Adds a change of one's own over all that is here."""
        deps = sorted(self.heads)
        seq = self.newest(actor)[0] + 1
        change = Change(actor, seq, self.start_op(deps), deps, section, encode(entry))
        # Room is left for submissions.
        fits = lambda size, room: all(n <= most for n, most in zip(size, room))
        own = self.size([change], named(change).by)
        if section != "submissions" and not (fits(self.size([change]), ROOM) and fits(own, SHARE)):
            raise Misfit("full")
        hash = self.insert(change)
        self.pending.add(hash)
        return hash

    def size(self, more=(), by=None):
        """Section 6, "Room": changes, bytes, observations; in all, or of one person."""
        changes = [*self.changes.values(), *more]
        changes = [change for change in changes if by is None or named(change).by == by]
        said = [named(change) for change in changes]
        notes = {note for one in said for note in one.notes}
        return (
            len(changes),
            sum(map(change_bytes, changes)) + 4032 * len(notes),
            sum(one.observations for one in said),
        )

    def merge(self, changes, seals):
        """Takes in what the server has. What does not fit raises at the end, when all else is taken in."""
        misfits = []
        for hash, change in changes.items():
            try:
                self.insert(change)
                self.passed.discard(hash)
            except Misfit as misfit:
                self.passed.add(hash)
                misfits.append(misfit)
        self.pending -= set(changes)
        self.seals.update(seals)
        self.gone = self.hidden = self.astray = False
        if misfits:
            raise misfits[0]
        if not self.pending or self.refused and self.refused[0] in EARLY:
            self.refused = None

    def waiting(self):
        return {hash: change for hash, change in self.changes.items() if hash in self.pending}

    def parts(self, own):
        """Section 12: what waits, in groups that end where the author changes, as far as others' seals allow. `own` are
        the fingerprints of this device's keys."""
        author = lambda change: None if change.actor[:8] in own else change.actor[:8]
        parts, part, before = [], {}, None
        for hash, change in self.waiting().items():
            alike = author(change), hash in self.doubted
            if part and alike != before and self._sealed(part, own):
                parts, part = [*parts, part], {}
            part[hash], before = change, alike
        return [*parts, part] if part else parts

    def _sealed(self, part, own):
        sealed = set()
        for head in self.seals:
            if head in part:
                same = lambda hash: part[hash].actor[:8] == part[head].actor[:8]
                sealed |= set(filter(same, past(part, [head])))
        return all(hash in sealed or change.actor[:8] in own for hash, change in part.items())

    def keep_theirs(self, refused, own):
        """Section 12: what others have written and nobody else may keep stays, as far as it builds on what is here."""
        for change in refused.theirs(own):
            with contextlib.suppress(Misfit):
                self.pending.add(self.insert(change))

    def theirs(self, own):
        """What others have written here and the server has neither confirmed nor keeps apart."""
        if self.refused and self.apart:
            return []
        return [change for change in self.waiting().values() if change.actor[:8] not in own]

    def unconfirm(self):
        """The server may have lost any of it: a rewind."""
        if self.refused:
            self.doubted = self.pending
        self.pending, self.passed, self.refused = set(self.changes), set(), None

    def send_again(self, has):
        """Section 13, Repair: the server has these changes."""
        waited, self.pending = self.pending, set(self.changes) - set(has)
        lost = self.pending - waited
        if self.refused and self.refused[0] == "missing_parent":
            self.refused = None
        elif self.refused and lost and self.refused[0] != "forked":
            self.refused, self.doubted = None, waited
        self.apart &= not lost

    def held(self):
        """The changes that count for a print: section 13, Repair."""
        if self.hidden or self.astray:
            return []
        return [hash for hash in self.changes if hash not in self.pending] + list(self.passed)

    def named(self):
        said = [named(change) for change in self.changes.values()]
        return {digest for one in said for digest in one.notes + one.photos}

    def audiences(self):
        """Territory and distributor of each start, or of an outlet's first report: who may see it."""
        found = []
        for change in self.changes.values():
            entry = entry_of(change)
            if entry and change.section == "recordings" and entry[3][0] == START:
                found.append(tuple(entry[3][3:5]))
            elif entry and change.section == "reports":
                return [(entry[5], entry[6])]
        return found

    def volume(self):
        """Of an outlet's history: whose, and which volume of it."""
        first = next(iter(self.changes.values()), None)
        entry = entry_of(first) if first and self.kind == "outlet" else None
        begun = entry and entry.get({"thread": 4, "reports": 9}[first.section])
        return (begun[0], begun[1]) if begun else (self.id, 0)

    def confirm(self, heads):
        """The server has these changes, and so all that they build on."""
        self.pending -= past(self.changes, heads)
        if not self.pending:
            self.refused = None

    def confirmed(self):
        """The document as the server has confirmed it."""
        left = Document(self.organisation, self.kind, self.id)
        left.merge({hash: change for hash, change in self.changes.items() if hash not in self.pending}, self.seals)
        left.passed, left.gone, left.hidden, left.astray = self.passed, self.gone, self.hidden, self.astray
        return left

    def says(self, change):
        """The confirmed change of another actor that does the same, by the same person at the same moment."""
        what = lambda entry: entry and [entry[0], entry[1], entry[3][0] if change.section == "recordings" else None]
        entry = entry_of(change)
        for hash, other in self.changes.items():
            if hash not in self.pending and other.section == change.section and other.actor != change.actor:
                if entry and what(entry_of(other)) == what(entry):
                    return hash
        return None

    def automerge(self):
        """The document as an Automerge file."""
        chunks = [change_chunk(self.kind, change)[0] for change in self.changes.values()]
        return self.chunk + b"".join(chunks)

    def packed(self):
        marks = [self.gone, self.hidden, self.astray, self.apart, list(self.doubted)]
        return [list(self.changes.values()), self.seals, list(self.pending), self.refused, list(self.passed), marks]

    def unpack(self, packed):
        changes, self.seals, pending, self.refused, passed, marks = packed
        for change in changes:
            self.insert(Change(*change))
        self.pending, self.passed = set(pending), set(passed)
        self.gone, self.hidden, self.astray, self.apart, doubted = marks
        self.doubted = set(doubted)
        return self


def renamed(value, now):
    """The value with each name replaced by what `now` says."""
    if isinstance(value, dict):
        return {key: renamed(one, now) for key, one in value.items()}
    if isinstance(value, list):
        return [renamed(one, now) for one in value]
    return now.get(value, value) if isinstance(value, bytes) else value


def change_bytes(change):
    """What a change counts of its document's room, and takes in a push."""
    return len(change.value) + 34 * len(change.deps) + 128


def entry_of(change):
    """None if it does not read: it is passed over."""
    try:
        return read(change.section, change.value)
    except Unreadable:
        return None


def named(change):
    """Whose an entry is, the notes and photos that it names, and how many observations it has."""
    notes, photos, observations = [], [], 0
    entry = entry_of(change)
    if entry is None:
        pass
    elif change.section == "recordings" and entry[3][0] == OBSERVE:
        _, subjects, values = entry[3][1][3]
        notes = [subject[1] for subject in subjects if subject[0] == 2 and len(subject) == 2]
        notes += [value[1] for value in values if value[0] == 7 and len(value) == 2]
        photos, observations = entry[3][1][4], len(values)
    elif change.section == "recordings" and entry[3][0] == NOT_POSSIBLE:
        notes, photos = entry[3][2:3], entry[3][3]
    elif change.section == "reviews":
        notes = [entry.get(4)]
    elif change.section == "thread":
        notes, word = [entry[2]], entry.get(5)
        photos = [] if not word else word[1][3] if word[0] == 0 else word[2]
    elif change.section == "reports":
        notes, photos = [entry.get(7)], entry[8]
    by, notes = entry and entry[0], [note for note in notes if note is not None]
    return Named(by, notes, [photo[0] for photo in photos], observations)

"""Who may write what: section 8 of docs/protocol.md; and fixtures/wire/rights.json by it."""

import uuid

from document import ABANDON, NOT_POSSIBLE, OBSERVE, START, WITHDRAW, Document, Misfit, entry_of
from entry import SUBJECTS, Invalid, Unreadable, keeps_rules, observed_pairs, read, said
from formats import *
from view import CLOSES, SAYS_MORE, Visit, change_of

TERRITORY, DISTRIBUTOR, PERSON, DEVICE, OUTLET, CALL = 0, 1, 2, 3, 10, 11
ADMIN, SUPERVISOR, REP, MANAGER, STAFF = range(5)
CAPTURES, REVIEWS, PARTNERS = (REP, STAFF), (ADMIN, SUPERVISOR), (MANAGER, STAFF)
NOBODY = bytes(16)
LONG = 500, 5 << 19
# Changes, bytes, observations.
MOST, SPARED = (4096, 4 << 20, 50_000), (32, 256 << 10, 500)


class Refused(Exception):
    def __init__(self, code, rule):
        super().__init__(code)
        self.code, self.rule = code, rule


def need_of(rule, condition, code):
    if not condition:
        raise Refused(code, rule)


class World:
    """What the records say to whoever knows so many lines of the log."""

    def __init__(self, log, known):
        self.records = {}
        for place, line in enumerate(log):
            if "record" in line:
                kind, body = decode(bytes.fromhex(line["record"]))[:2]
                if place < known or (kind, body[0]) not in self.records:
                    self.records[kind, body[0]] = body

    def get(self, kind, id):
        return self.records.get((kind, id))

    def device(self, actor):
        devices = (body for (kind, _), body in self.records.items() if kind == DEVICE)
        return next((body for body in devices if fingerprint(body[2]) == actor[:8]), None)

    def holds(self, scope, audience):
        """Section 17."""
        territory, distributor = audience
        if scope[0] == 1:
            return scope[1] == distributor
        for _ in range(16):
            if territory == scope[1]:
                return True
            body = self.get(TERRITORY, territory)
            territory = body and body.get(1)
        return False


class Judge:
    """One change that comes to the documents of a log."""

    def __init__(self, organisation, log, document, change):
        self.organisation, self.log, self.change = organisation, log, change
        self.now = World(log, len(log))
        self.documents = {}
        for line in log:
            if "change" in line:
                self._write(line)
        kind, id = document["kind"], bytes.fromhex(document["id"])
        self.document = self.documents.setdefault((kind, id), Document(organisation, kind, id))

    def _write(self, line):
        kind, id = line["document"]["kind"], bytes.fromhex(line["document"]["id"])
        document = self.documents.setdefault((kind, id), Document(self.organisation, kind, id))
        document.insert(change_of(line["change"]))

    def decide(self, known):
        """Refused, if it is."""
        self.before = dict(self.document.changes)
        device = self.now.device(self.change.actor)
        # As whose it is sealed.
        need_of(3, device, "foreign_actor")
        self._fits()
        self.entry = self._reads()
        self._room(device)
        self._keeps_rules()
        self._author(device)
        anchor = self._anchor()
        try:
            self._rights(self.now)
        except Refused as now:
            if not self._kept(max(anchor, known)):
                raise Refused("late", now.rule) if self._kept(anchor) else now

    def _anchor(self):
        """Section 18: the line that it stands for in this log."""
        when, end = self.entry[1], len(self.log)
        anchor, life = when[3], when[5] if len(when) > 5 else None
        begins = [(place, bytes.fromhex(line["origin"])) for place, line in enumerate(self.log) if "origin" in line]
        ends = [place for place, _ in begins[1:]] + [end]
        lives = {int.from_bytes(origin[:4], "big"): end for (_, origin), end in zip(begins, ends)}
        return min(anchor, end if life is None else lives.get(life, 0))

    def _kept(self, lines):
        try:
            self._rights(World(self.log, lines))
        except Refused:
            return False
        return True

    def _room(self, device):
        """Rule 1: some of it is the server's own alone, and nobody else has more than three quarters."""
        size, server = self.document.size(), device[1] == NOBODY
        need_of(1, all(n <= most - left for n, most, left in zip(size, MOST, (0, 0, 0) if server else SPARED)), "full")
        own = (0, 0, 0) if server else self.document.size(by=self.entry[0])
        need_of(1, all(n <= most * 3 // 4 for n, most in zip(own, MOST)), "full")

    def _fits(self):
        """Rule 1."""
        document, change = self.document, self.change
        _, hash = change_chunk(document.kind, change)
        try:
            self.hash = document.insert(change)
        except Misfit as misfit:
            raise Refused(misfit.code, 1) from misfit
        self.past = past(document.changes, [hash])

    def _reads(self):
        try:
            entry = read(self.change.section, self.change.value)
            keeps_rules(self.change.section, entry)
        except Unreadable as unreadable:
            raise Refused("unreadable", 2) from unreadable
        except Invalid as invalid:
            raise Refused("invalid", 2) from invalid
        return entry

    def _act(self):
        return self.entry[3] if self.change.section == "recordings" else [None]

    def _starts(self, changes):
        """Each with its hash, in the order in which they came."""
        entries = {hash: entry_of(change) for hash, change in changes.items() if change.section == "recordings"}
        return {hash: entry for hash, entry in entries.items() if entry and entry[3][0] == START}

    def _keeps_rules(self):
        """Rule 2, those that need a document."""
        document, act = self.document, self._act()
        if document.kind == "visit":
            first = next(iter(self._starts(self.before).values()), None)
            need_of(2, first or act[0] == START, "invalid")
            if act[0] == START:
                outlet, call = act[1:3]
                if first:
                    need_of(2, first[3][1:3] == [outlet, call], "invalid")
                elif call is not None:
                    name = hashlib.sha1(self.organisation + call).digest()[:16]
                    need_of(2, document.id == uuid.UUID(bytes=name, version=5).bytes, "invalid")
                else:
                    need_of(2, document.id[6] >> 4 != 5, "invalid")
        begun = self.entry.get({"thread": 4, "reports": 9}.get(self.change.section, -1))
        later = document.kind == "outlet" and document.id[6] >> 4 == 8 and document.id[8] >> 6 == 2
        need_of(2, (begun is not None) == (later and self.change.seq == 1), "invalid")
        if begun:
            outlet, number, before = begun[:3]
            need_of(2, volume(outlet, number) == document.id, "invalid")
            older = self.documents.get(("outlet", volume(outlet, number - 1)))
            need_of(2, older and all(head in older.changes for head in before), "missing_parent")
            seen = Document(self.organisation, "outlet", older.id)
            seen.changes = {h: older.changes[h] for h in past(older.changes, before)}
            count, size, _ = seen.size()
            need_of(2, count >= LONG[0] or size >= LONG[1], "invalid")

    def _author(self, device):
        """Rules 3 and 4."""
        need_of(3, not device[3], "revoked_device")
        self.person = self.entry[0]
        need_of(4, device[1] in (NOBODY, self.person), "foreign_person")
        need_of(4, set(self._named()) <= self.past - {self.hash}, "not_in_past")
        word = self.entry.get(5) if self.change.section == "thread" else None
        if word:
            need_of(4, self.document.kind == "visit", "invalid")
            view = self._view()
            if word[0] == 1:
                need_of(4, self.entry[3] in view.contests, "invalid")
            elif word[1].get(0):
                pair = word[1][0][0], said(word[1][0][1], SUBJECTS)
                says = lambda hash: hash in view.recordings and pair in dict(view.recordings[hash].observations)
                need_of(4, all(map(says, word[1][1])), "invalid")

    def _named(self):
        section, entry, act = self.change.section, self.entry, self._act()
        if act[0] == OBSERVE:
            return act[1][5]
        if act[0] == WITHDRAW:
            return act[1]
        if section == "reviews":
            return entry[3]
        if section == "thread":
            word = entry.get(5)
            seen = word[1][1] if word and word[0] == 0 else []
            return [*seen, *([entry[3]] if entry.get(3) else [])]
        return []

    def _rights(self, world):
        person = world.get(PERSON, self.person)
        need_of(5, person and person[4], "no_right")
        if self._act()[0] == START:
            self._start(world)
            seen_by = [tuple(self._act()[3:5])]
        elif self.document.kind == "visit":
            starts = [(hash, entry) for hash, entry in self._starts(self.before).items()]
            own = [entry for hash, entry in starts if hash in self.past and entry[0] == self.person]
            seen_by = [tuple(entry[3][3:5]) for entry in [starts[0][1], *own]]
        else:
            seen_by = [self._outlet(world)]
        need_of(7, any(world.holds(person[3], one) for one in seen_by), "out_of_scope")
        self._entry(person[2])

    def _start(self, world):
        """Rule 5."""
        _, id, call, *said = self._act()[:5]
        here = [entry[3] for entry in self._starts(self.before).values()]
        if not here and call is not None:
            planned = world.get(CALL, call)
            need_of(5, planned and not planned[5], "unknown")
            need_of(5, planned[1] == id, "wrong_start")
        if said not in [act[3:5] for act in here]:
            outlet = world.get(OUTLET, id)
            need_of(5, outlet and outlet[12], "unknown")
            need_of(5, said == [outlet[3], outlet[4]], "wrong_start")

    def _outlet(self, world):
        """Rule 6: the audience."""
        begun = self.entry.get({"thread": 4, "reports": 9}[self.change.section])
        id = begun[0] if begun else self.document.volume()[0]
        outlet = world.get(OUTLET, id)
        if outlet:
            return outlet[3], outlet[4]
        first = next((entry for section, entry in self._history(id) if section == "reports"), None)
        if first:
            return first[5], first[6]
        need_of(6, self.change.section == "reports", "unknown")
        audience = self.entry[5], self.entry[6]
        need_of(6, world.get(TERRITORY, audience[0]) and world.get(DISTRIBUTOR, audience[1]), "unknown")
        return audience

    def _history(self, outlet):
        """What an outlet's volumes say without the change."""
        for number in range(1001):
            document = self.documents.get(("outlet", volume(outlet, number)))
            for hash, change in document.changes.items() if document else ():
                if hash != self.hash:
                    yield change.section, entry_of(change)

    def _entry(self, role):
        """Rule 8."""
        section, act = self.change.section, self._act()
        right = lambda condition: need_of(8, condition, "no_right")
        if act[0] in (START, NOT_POSSIBLE) or section == "submissions":
            right(role in CAPTURES)
        elif act[0] == OBSERVE:
            right(role in CAPTURES or role in REVIEWS and self._settles(act[1]))
        elif act[0] == WITHDRAW:
            view = self._view()
            covered = past(view.changes, [done for done, by in view.submissions.items() if by == self.person])
            own = {hash for hash, recording in view.recordings.items() if recording.by == self.person}
            right(set(act[1]) <= own - covered)
        elif act[0] == ABANDON:
            right(self.person not in self._view().submissions.values())
        elif section == "reviews":
            right(role in REVIEWS)
        elif section == "reports":
            right(role in CAPTURES or role in REVIEWS)
        elif section == "thread" and self.entry.get(5):
            self._word(self.entry[5], role)

    def _view(self):
        """What the visit says by the change's past, without it."""
        seen = Document(self.organisation, "visit", self.document.id)
        seen.changes = {h: c for h, c in self.document.changes.items() if h in self.past and h != self.hash}
        return Visit(seen)

    def _settles(self, body):
        view = self._view()
        held = {pair for h in body[5] if h in view.recordings for pair, _ in view.recordings[h].observations}
        pairs = {pair for pair, _ in observed_pairs(body)}
        return pairs and not body[4] and pairs <= held

    def _word(self, word, role):
        both = word[0] == 1 and word[1] in (SAYS_MORE, CLOSES)
        allowed = PARTNERS if word[0] == 0 else (*REVIEWS, *PARTNERS) if both else REVIEWS
        need_of(8, role in allowed, "no_right")


def lines(log):
    """Each by itself. `again`: the same actor writes the same so many times more, each on top of the one before."""
    for line in log:
        yield line
        parts = line.get("change")
        for _ in range(line.get("again", 0)):
            _, hash = change_chunk(line["document"]["kind"], change_of(parts))
            parts = {**parts, "seq": parts["seq"] + 1, "start_op": parts["start_op"] + 1, "deps": [hash.hex()]}
            yield {**line, "change": parts}


def check(fixture):
    """How many cases there are; each change is accepted, or refused as it says."""
    organisation = bytes.fromhex(fixture["organisation"])
    for case in fixture["cases"]:
        log = list(lines(fixture["log"] + case["then"]))
        judge = Judge(organisation, log, case["document"], change_of(case["change"]))
        code = rights = None
        try:
            judge.decide(case["known"])
        except Refused as refused:
            code = refused.code
            rights = refused.rule >= 5 or code == "revoked_device"
        found = {"code": code or "accepted", "about_rights": bool(rights)}
        expected = {what: case[what] for what in found}
        if found != expected:
            raise AssertionError(f"{case['what']}: {found} instead of {expected}")
    return len(fixture["cases"])

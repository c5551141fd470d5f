"""Who may write what: section 8 of docs/protocol.md; and fixtures/wire/rights.json by it."""

import uuid

from document import ABANDON, NOT_POSSIBLE, OBSERVE, START, WITHDRAW, Document, Misfit, entry_of
from entry import SUBJECTS, Invalid, Unreadable, keeps_rules, observed_pairs, read, said
from formats import *
from view import SAYS_MORE, CLOSES, Visit, change_of

TERRITORY, DISTRIBUTOR, PERSON, DEVICE, OUTLET, CALL = 0, 1, 2, 3, 10, 11
ADMIN, SUPERVISOR, REP, MANAGER, STAFF = range(5)
CAPTURES, REVIEWS, PARTNERS = (REP, STAFF), (ADMIN, SUPERVISOR), (MANAGER, STAFF)
NOBODY = bytes(16)
LONG = 500, 5 << 19


class Refused(Exception):
    def __init__(self, code, rule):
        super().__init__(code)
        self.code, self.rule = code, rule


def need_of(rule, condition, code):
    if not condition:
        raise Refused(code, rule)


class World:
    """The newest records of the first lines of the log."""

    def __init__(self, lines):
        self.records = {}
        for line in lines:
            if "record" in line:
                kind, body = decode(bytes.fromhex(line["record"]))[:2]
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
        for _ in range(17):
            if territory == scope[1]:
                return True
            body = self.get(TERRITORY, territory)
            territory = body and body.get(1)
        return False


class Judge:
    """One change that comes to the documents of a log."""

    def __init__(self, organisation, log, document, change):
        self.organisation, self.log, self.change = organisation, log, change
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
        self._fits()
        self.entry = self._reads()
        self._keeps_rules()
        self._author()
        anchor = min(self.entry[1][3], len(self.log))
        last = min(max(anchor, known), len(self.log))
        try:
            self._rights(World(self.log))
        except Refused as now:
            if not self._kept(last):
                raise Refused("late", now.rule) if self._kept(anchor) else now

    def _kept(self, lines):
        try:
            self._rights(World(self.log[:lines]))
        except Refused:
            return False
        return True

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

    def _author(self):
        """Rules 3 and 4."""
        device = World(self.log).device(self.change.actor)
        need_of(3, device, "foreign_actor")
        need_of(3, not device[3], "revoked_device")
        # The server's own device writes for whoever is at the console.
        self.person = self.entry[0]
        need_of(4, device[1] in (NOBODY, self.person), "foreign_person")
        need_of(4, set(self._named()) <= self.past - {self.hash}, "not_in_past")

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
        audience = self._visit(world) if self.document.kind == "visit" else self._outlet(world)
        person = world.get(PERSON, self.person)
        own = [audience]
        if self.document.kind == "visit":
            changes = {hash: change for hash, change in self.document.changes.items() if hash in self.past}
            starts = self._starts(changes).values()
            own += [tuple(start[3][3:5]) for start in starts if start[0] == self.person]
        need_of(7, person and any(world.holds(person[3], one) for one in own), "out_of_scope")
        self._entry(person[2])

    def _visit(self, world):
        """Rule 5, and the audience."""
        here = [entry[3] for entry in self._starts(self.before).values()]
        act = self._act()
        if act[0] == START:
            outlet = world.get(OUTLET, act[1])
            placed = outlet and tuple(outlet[at] for at in (3, 4))
            if here:
                allowed = [placed, *(tuple(one[3:5]) for one in here)]
                need_of(5, tuple(act[3:5]) in allowed, "wrong_start")
            else:
                need_of(5, outlet and outlet[12], "unknown")
                need_of(5, tuple(act[3:5]) == placed, "wrong_start")
                if act[2] is not None:
                    call = world.get(CALL, act[2])
                    need_of(5, call and not call[5], "unknown")
                    need_of(5, call[1] == act[1], "wrong_start")
        return tuple((here or [act])[0][3:5])

    def _outlet(self, world):
        """Rule 6: the audience."""
        begun = self.entry.get({"thread": 4, "reports": 9}[self.change.section])
        own = begun[0] if begun else self.document.volume()[0]
        outlet = world.get(OUTLET, own)
        if outlet:
            audience = outlet[3], outlet[4]
        else:
            volumes = [self.documents.get(("outlet", volume(own, number))) for number in range(1001)]
            reports = [
                entry_of(change)
                for one in volumes
                if one
                for change in one.changes.values()
                if change.section == "reports"
            ]
            first = next(filter(None, reports), None)
            need_of(6, first, "unknown")
            audience = first[5], first[6]
        exist = world.get(TERRITORY, audience[0]) and world.get(DISTRIBUTOR, audience[1])
        need_of(6, exist, "unknown")
        return audience

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
            covered = {h for done, by in view.submissions.items() if by == self.person for h in past(view.changes, [done])}
            own = {hash for hash, recording in view.recordings.items() if recording.by == self.person}
            right(set(act[1]) <= own - covered)
        elif act[0] == ABANDON:
            view = self._view()
            right(not any(view.recordings[hash].by == self.person for hash in view.submitted))
        elif section == "reviews":
            right(role in REVIEWS)
        elif section == "reports":
            right(role in CAPTURES or role in REVIEWS)
        elif self.entry.get(5):
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
        kind, visit = word[0], self.document.kind == "visit"
        if kind == 0:
            need_of(8, role in PARTNERS, "no_right")
            need_of(8, visit, "invalid")
            about = word[1].get(0)
            if about:
                pair, recordings = (about[0], said(about[1], SUBJECTS)), self._view().recordings
                says = lambda hash: hash in recordings and pair in dict(recordings[hash].observations)
                need_of(8, all(map(says, word[1][1])), "invalid")
        else:
            both = word[1] in (SAYS_MORE, CLOSES)
            need_of(8, role in REVIEWS or both and role in PARTNERS, "no_right")
            need_of(8, visit and self.entry[3] in self._view().contests, "invalid")


def lines(log):
    """Each line by itself. `again`: the same actor writes the same so many times more, each on top of the one before."""
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

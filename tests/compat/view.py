"""What a visit says: section 9 of docs/protocol.md; and fixtures/wire/views.json by it."""

from collections import namedtuple

from document import ABANDON, NOT_POSSIBLE, OBSERVE, START, WITHDRAW, Document, entry_of
from entry import SUBJECTS, VALUES, observed_pairs, said
from formats import *

Recording = namedtuple("Recording", "hash by act observations supersedes photos")
Contest = namedtuple("Contest", "hash pair seen right steps")

NO_VALUE = 8
SAYS_MORE, ASKS, UPHOLDS, ACCEPTS, CLOSES = range(5)
STANDINGS = {UPHOLDS: "upheld", ACCEPTS: "accepted", CLOSES: "closed"}


def _recording(hash, entry):
    act = entry[3]
    observations, supersedes, photos = [], [], []
    if act[0] == OBSERVE:
        observations, photos, supersedes = observed_pairs(act[1]), act[1][4], act[1][5]
    elif act[0] == NOT_POSSIBLE:
        photos = act[3]
    return Recording(hash, entry[0], act, observations, supersedes, photos)


def _contest(hash, word):
    about = word.get(0)
    pair = (about[0], said(about[1], SUBJECTS)) if about else None
    right = said(word[2], VALUES) if word.get(2) else encode([NO_VALUE])
    return Contest(hash, pair, word[1], right, {})


class Visit:
    """A pair is a check and a subject's bytes."""

    def __init__(self, document):
        self.changes = document.changes
        self.recordings, self.submissions, self.reviews, self.contests = {}, {}, {}, {}
        steps = []
        for hash in sorted(self.changes, key=lambda hash: (self.changes[hash].start_op, hash)):
            section, entry = self.changes[hash].section, entry_of(self.changes[hash])
            if entry is None:
                continue
            if section == "recordings":
                self.recordings[hash] = _recording(hash, entry)
            elif section == "submissions":
                self.submissions[hash] = entry[0]
            elif section == "reviews":
                self.reviews[hash] = (entry[2], entry[3])
            elif section == "thread" and entry.get(5):
                kind, word = entry[5][:2]
                if kind == 0:
                    self.contests[hash] = _contest(hash, word)
                else:
                    steps.append((hash, entry[3], word))
        for hash, contest, step in steps:
            if contest in self.contests:
                self.contests[contest].steps[hash] = step
        for contest in self.contests.values():
            self._leave_out_closes(contest.steps)
        self.start = next((r for r in self.recordings.values() if r.act[0] == START), None)
        self.withdrawn = self._withdrawn()
        self.submitted = self._submitted()
        self.values = self._values()
        self.standing_reviews = self._last(self.reviews)
        verdicts = [self.reviews[hash] for hash in self.standing_reviews]
        self.verdicts = {verdict for verdict, _ in verdicts}
        self.reviewed = self._past(head for _, heads in verdicts for head in heads)
        self.new = set(self.recordings) - self.reviewed if self.reviews else set()
        self.unreviewed = set(self.submissions) - self.reviewed
        self.status = self._status()

    def _past(self, hashes):
        return past(self.changes, hashes)

    def _last(self, hashes):
        """Those that are in the past of no other of them."""
        earlier = {older for hash in hashes for older in self._past(self.changes[hash].deps)}
        return set(hashes) - earlier

    def _leave_out_closes(self, steps):
        """Those whose authors knew of a finding."""
        findings = {hash for hash, step in steps.items() if step in (UPHOLDS, ACCEPTS)}
        for hash in [hash for hash, step in steps.items() if step == CLOSES]:
            if findings & self._past(self.changes[hash].deps):
                del steps[hash]

    def _by(self, person, hashes):
        return {hash for hash in hashes if hash in self.recordings and self.recordings[hash].by == person}

    def started(self, person):
        own = self._by(person, set(self.recordings) - self.withdrawn)
        return any(self.recordings[hash].act[0] == START for hash in own)

    def _withdrawn(self):
        withdrawn = set()
        for hash, recording in self.recordings.items():
            if recording.act[0] == WITHDRAW:
                withdrawn |= self._by(recording.by, recording.act[1])
            if recording.act[0] == ABANDON:
                withdrawn |= self._by(recording.by, self._past([hash]))
        return withdrawn

    def _submitted(self):
        submitted = {hash for hash, r in self.recordings.items() if r.act[0] == NOT_POSSIBLE}
        for hash, by in self.submissions.items():
            submitted |= self._by(by, self._past([hash]))
        for hash, recording in self.recordings.items():
            if not (submitted - self.withdrawn).isdisjoint(recording.supersedes):
                submitted.add(hash)
        return submitted

    def _values(self):
        """The recordings and values that hold for each pair."""
        live = [r for r in self.recordings.values() if r.hash not in self.withdrawn]
        replaced = {(older, pair) for r in live for older in r.supersedes for pair, _ in r.observations}
        values = {}
        for recording in live:
            for pair, value in recording.observations:
                if (recording.hash, pair) not in replaced:
                    values.setdefault(pair, []).append((recording, value))
        return values

    def conflicts(self):
        differ = lambda held: len({value for _, value in held if decode(value)[0] != NO_VALUE}) > 1
        return {pair: held for pair, held in self.values.items() if differ(held)}

    def stands(self, contest):
        steps = {contest.steps[hash] for hash in self._last(contest.steps)}
        if not steps or SAYS_MORE in steps:
            return "open"
        if ASKS in steps:
            return "asked"
        return STANDINGS[steps.pop()] if len(steps) == 1 else "open"

    def holds(self, contest):
        if contest.pair is None:
            return self.stands(contest) != "accepted"
        seen = [dict(self.recordings[hash].observations) for hash in contest.seen if hash in self.recordings]
        wrong = {observations.get(contest.pair) for observations in seen} - {contest.right}
        live = self.values.get(contest.pair, [])
        return any(recording.hash in contest.seen or value in wrong for recording, value in live)

    def found_wrong(self):
        return any(c.pair is None and self.stands(c) == "accepted" for c in self.contests.values())

    def contested(self):
        matters = lambda c: self.stands(c) in ("open", "asked") or self.stands(c) == "accepted" and self.holds(c)
        return any(map(matters, self.contests.values()))

    def _status(self):
        acts = {hash: r.act[0] for hash, r in self.recordings.items()}
        live = [act for hash, act in acts.items() if hash not in self.withdrawn]
        if acts and all(act in (WITHDRAW, ABANDON) for act in live):
            return "abandoned"
        if len(self.verdicts) == 2:
            return "disputed"
        if self.verdicts and not self.unreviewed:
            return "sent_back" if 1 in self.verdicts else "approved"
        if self.unreviewed:
            return "submitted"
        if OBSERVE not in live and NOT_POSSIBLE in live:
            return "not_possible"
        return "in_progress"

    def said(self):
        """All of it as the fixture has it."""
        hexes = lambda hashes: sorted(hash.hex() for hash in hashes)
        named = lambda pair: {"check": pair[0], "subject": pair[1].hex()}
        start = self.start and {
            "outlet": self.start.act[1].hex(),
            "call": self.start.act[2].hex() if self.start.act[2] else None,
            "by": self.start.by.hex(),
        }
        values = [
            {**named(pair), "value": value.hex(), "recording": recording.hash.hex(), "by": recording.by.hex()}
            for pair, held in self.values.items()
            for recording, value in held
        ]
        contests = [
            {"contest": hash.hex(), "stands": self.stands(contest), "holds": self.holds(contest)}
            for hash, contest in self.contests.items()
        ]
        by_pair = lambda one: (one["check"], one["subject"], one.get("recording"))
        return {
            "start": start,
            "status": self.status,
            "values": sorted(values, key=by_pair),
            "conflicts": sorted(map(named, self.conflicts()), key=by_pair),
            "withdrawn": hexes(self.withdrawn),
            "submitted": hexes(self.submitted),
            "standing_reviews": hexes(self.standing_reviews),
            "new": hexes(self.new),
            "unreviewed": hexes(self.unreviewed),
            "contests": sorted(contests, key=lambda one: one["contest"]),
            "contested": self.contested(),
            "found_wrong": self.found_wrong(),
        }


def change_of(parts):
    """A change as fixtures have it."""
    binary = {name: bytes.fromhex(parts[name]) for name in ("actor", "value")}
    return Change(**{**parts, **binary, "deps": [bytes.fromhex(dep) for dep in parts["deps"]]})


def check(fixture):
    """How many visits there are; each says what is expected."""
    organisation = bytes.fromhex(fixture["organisation"])
    for case in fixture["visits"]:
        document = Document(organisation, "visit", bytes.fromhex(case["document"]))
        for one in case["changes"]:
            if document.insert(change_of(one["parts"])).hex() != one["hash"]:
                raise AssertionError(f"{case['name']}: {one['what']} has another name")
        found = Visit(document).said()
        for what, expected in case["view"].items():
            if found.pop(what) != expected:
                raise AssertionError(f"{case['name']}: {what} is {Visit(document).said()[what]} instead of {expected}")
        if found:
            raise AssertionError(f"{case['name']}: nothing is expected of {', '.join(found)}")
    return len(fixture["visits"])

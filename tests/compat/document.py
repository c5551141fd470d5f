"""Documents of docs/protocol.md and what a visit says: sections 6, 7 and 9."""

from collections import namedtuple

from formats import *

Recording = namedtuple("Recording", "hash by act observations supersedes photos")

START, OBSERVE, NOT_POSSIBLE, WITHDRAW, ABANDON = range(5)
NO_VALUE = 8
# Lengths of the known kinds.
SUBJECTS = {0: [3], 1: [2], 2: [2], 3: [2], 4: [1]}
VALUES = {0: [3, 4], 1: [3], 2: [2, 3], 3: [2], 4: [2], 5: [2], 6: [2], 7: [2], 8: [1]}


class Misfit(Exception):
    """A change that does not fit; `code` says why."""

    def __init__(self, code):
        super().__init__(code)
        self.code = code


class Document:
    def __init__(self, organisation, kind, id):
        self.kind, self.id = kind, id
        self.chunk, self.genesis = genesis(organisation, kind, id)
        self.changes, self.heads = {}, {self.genesis}
        # Of the device's own, what the server has not confirmed; and why it will not, [code, detail].
        self.pending, self.refused = set(), None

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
        hash = self.insert(Change(actor, seq, self.start_op(deps), deps, section, encode(entry)))
        self.pending.add(hash)
        return hash

    def confirm(self, head):
        """The server has this change, and so all that it builds on."""
        self.pending -= past(self.changes, [head])
        if not self.pending:
            self.refused = None

    def automerge(self):
        """The document as an Automerge file."""
        chunks = [change_chunk(self.kind, change)[0] for change in self.changes.values()]
        return self.chunk + b"".join(chunks)

    def packed(self):
        return [list(self.changes.values()), list(self.pending), self.refused]

    def unpack(self, packed):
        changes, pending, self.refused = packed
        for change in changes:
            self.insert(Change(*change))
        self.pending = set(pending)
        return self


def said(array, known):
    """A subject's or value's bytes, to be compared: as it came if its kind or length is not known."""
    return encode(list(array)) if len(array) in known.get(array[0], []) else array.raw


def _recording(hash, entry):
    """None if it does not read."""
    act = entry[3]
    observations, supersedes, photos = [], [], []
    if act[0] == OBSERVE:
        body = act[1]
        runs, subjects, values = body[3][:3]
        checks = [check for check, count in zip(runs[::2], runs[1::2]) for _ in range(count)]
        if not len(checks) == len(subjects) == len(values):
            return None
        subjects, values = [said(s, SUBJECTS) for s in subjects], [said(v, VALUES) for v in values]
        observations = [((check, subject), value) for check, subject, value in zip(checks, subjects, values)]
        photos, supersedes = body[4], body[5]
    elif act[0] == NOT_POSSIBLE:
        photos = act[3]
    elif act[0] == START and len(act) < 6 or act[0] not in range(5):
        return None
    return Recording(hash, entry[0], act, observations, supersedes, photos)


class Visit:
    """What a visit says: section 9. A pair is a check and a subject's bytes."""

    def __init__(self, document):
        self.changes = document.changes
        self.recordings, self.submissions, self.reviews = {}, {}, {}
        for hash in sorted(self.changes, key=lambda hash: (self.changes[hash].start_op, hash)):
            change = self.changes[hash]
            try:
                entry = decode(change.value)
                if change.section == "recordings":
                    recording = _recording(hash, entry)
                    if recording:
                        self.recordings[hash] = recording
                elif change.section == "submissions":
                    self.submissions[hash] = entry[0]
                elif change.section == "reviews":
                    self.reviews[hash] = (entry[2], entry[3])
            except (Malformed, KeyError, IndexError, TypeError, ValueError, AttributeError):
                continue
        self.start = next((r for r in self.recordings.values() if r.act[0] == START), None)
        self.withdrawn = self._withdrawn()
        self.submitted = self._submitted()
        self.values = self._values()
        self.status = self._status()

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
                withdrawn |= self._by(recording.by, past(self.changes, [hash]))
        return withdrawn

    def _submitted(self):
        submitted = {hash for hash, r in self.recordings.items() if r.act[0] == NOT_POSSIBLE}
        for hash, by in self.submissions.items():
            submitted |= self._by(by, past(self.changes, [hash]))
        for hash, recording in self.recordings.items():
            older = [self.recordings[h] for h in recording.supersedes if h in self.recordings]
            if any(r.by != recording.by or r.hash in submitted for r in older):
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

    def _status(self):
        acts = {hash: r.act[0] for hash, r in self.recordings.items()}
        live = [act for hash, act in acts.items() if hash not in self.withdrawn]
        if acts and all(act in (WITHDRAW, ABANDON) for act in live):
            return "abandoned"
        earlier = {h for review in self.reviews for h in past(self.changes, self.changes[review].deps)}
        standing = [review for hash, review in self.reviews.items() if hash not in earlier]
        verdicts = {verdict for verdict, _ in standing}
        reviewed = past(self.changes, [head for _, heads in standing for head in heads])
        unreviewed = set(self.submissions) - reviewed
        if len(verdicts) == 2:
            return "disputed"
        if verdicts and not unreviewed:
            return "sent_back" if 1 in verdicts else "approved"
        if unreviewed:
            return "submitted"
        if OBSERVE not in live and NOT_POSSIBLE in live:
            return "not_possible"
        return "in_progress"

"""A client of docs/protocol.md that shares no code with the others: enrols, captures visits without a network,
syncs, drops what it need not keep, and finds out what its disk has lost. Python 3.9 and nothing else. Section
numbers are those of the document.

It does what a device MUST, but for what it leaves out: it carries nothing for others (section 23), changes its key
only when it is enrolled again, waits for no poke, compresses nothing, writes no outlet's history and no contest, and
leaves it to the server to judge who may write what (section 8)."""

import base64
import contextlib
import hashlib
import os
import pathlib
import time
import uuid

import ed25519
from document import *
from messages import read_answer
from photos import Photos
from receipt import Watch
from repair import WANTED_MAX, Inventory, record_digest
from server import Problem, Server
from view import Visit

TERRITORY, DISTRIBUTOR, PERSON, DEVICE, PRODUCT, PLANOGRAM, PRICE_LIST = range(7)
TEMPLATE, OUTLET, CALL, ERASED = 9, 10, 11, 12
PUSH_BYTES, GROUPS_MAX, FAILED_MAX = 512 << 10, 2000, 8


class Refused(Exception):
    """The server has refused a document's work: it is not written to."""


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def call_visit(organisation, call):
    """UUIDv5, section 1."""
    id = bytearray(hashlib.sha1(organisation + call).digest()[:16])
    id[6], id[8] = id[6] & 15 | 5 << 4, id[8] & 63 | 128
    return bytes(id)


class Client(Photos):
    """All that one device has, in one file that is written anew for each change of it."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.server = Server(lambda: self.own)
        # Each run of the client counts as a boot: section 18.
        self.boot, self.booted, self.skew = int.from_bytes(os.urandom(4), "big"), time.monotonic(), None
        # The print that came with the last page.
        self.said = None
        (self.folder / "photos").mkdir(parents=True, exist_ok=True)
        if (self.folder / "store").exists():
            self._load()
            return
        self.own = {"seed": os.urandom(32), "instance": os.urandom(8), "former": []}
        self.own.update(cursor=None, pushed=None, filled=None, log=Watch.fresh(None))
        self.records, self.documents, self.notes, self.photos = {}, {}, {}, {}
        self.save()

    def _load(self):
        self.documents = {}
        self.own, self.records, documents, self.notes, self.photos = decode((self.folder / "store").read_bytes())
        for name, packed in documents.items():
            self.document(name).unpack(packed)

    def save(self):
        documents = {name: document.packed() for name, document in self.documents.items()}
        stored = encode([self.own, self.records, documents, self.notes, self.photos])
        self._replace(self.folder / "store", stored)

    def _replace(self, path, data):
        fresh = path.with_suffix(".new")
        with open(fresh, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, path)

    @contextlib.contextmanager
    def _whole(self):
        """What is done with a server's answer is on the disk afterwards, or none of it was done."""
        try:
            yield
            self.save()
        except Exception as error:
            self._load()
            if isinstance(error, (AttributeError, IndexError, KeyError, TypeError, ValueError)):
                raise Malformed("an answer of another shape") from error
            raise

    # ---- section 2: messages

    def _ask_cbor(self, path, question, report):
        """The message's name, and the answer."""
        body = encode(question)
        data = self.server.ask_cbor(path, body)
        report["requests"] += 1
        report["received"] += len(data)
        reply = read_answer(path, data)
        self.skew = reply[1] - self._wall()
        return sha256(body), reply

    # ---- section 3: enrolment

    def enrol(self, server, code, label):
        self.own["server"] = server
        self.save()
        try:
            answer = self._enrol(code, label)
        except Problem as problem:
            if problem.code != "key_taken":
                raise
            self._renew()
            answer = self._enrol(code, label)
        need(answer["protocol"] == 1, "another protocol")
        id = lambda text: uuid.UUID(text).bytes
        self.own.update(
            organisation=id(answer["organisation"]["id"]), user=id(answer["user"]["id"]), token=answer["token"]
        )
        if self.own["log"]["key"] is None:
            key = answer["log_key"]
            self.own["log"]["key"] = base64.urlsafe_b64decode(key + "=" * (-len(key) % 4))
        self.save()

    def _enrol(self, code, label):
        proof = self._sign(b"endcap enrol v1\0" + code.encode())
        key = base64url(ed25519.public(self.own["seed"]))
        question = {"code": code, "key": key, "proof": base64url(proof), "label": label}
        return self.server.ask_json("/api/v1/enrol", question)

    def _renew(self):
        """Another key. What the one before has to sign it signs now, each change by itself."""
        before = self.fingerprint()
        for document in self.documents.values():
            own = {hash for hash, change in document.changes.items() if change.actor[:8] == before}
            sealed = past(document.changes, [head for head in document.seals if head in own])
            for head in own:
                if head in document.pending or head not in sealed:
                    message = seal_message(self.own["organisation"], document.kind, document.id, head)
                    document.seals[head] = self._sign(message)
        former = self.own["former"] + [before]
        self.own.update(seed=os.urandom(32), instance=os.urandom(8), former=former, pushed=None)
        self.save()

    def _sign(self, message):
        return ed25519.sign(self.own["seed"], message)

    def fingerprint(self):
        return fingerprint(ed25519.public(self.own["seed"]))

    def actor(self):
        return self.fingerprint() + self.own["instance"]

    # ---- section 16: records

    def _keep_record(self, raw):
        key, body = record_key(raw), decode(raw)[1]
        self.records[key] = raw
        if key[0] == ERASED and body.get(2):
            self.notes.pop(body[2], None)
            self._forget_photo(body[2])
        elif key[0] == OUTLET:
            self._set_gone(key[1:], False)

    def record_of(self, kind, id):
        id = id if isinstance(id, bytes) else id.to_bytes(16, "big")
        return decode(self.records[bytes([kind]) + id])[1]

    def records_of(self, kind):
        return [decode(raw)[1] for key, raw in self.records.items() if key[0] == kind]

    # ---- capture: sections 7 to 9 and 18

    def document(self, name):
        if name not in self.documents:
            kind = KINDS[name[0]]
            self.documents[name] = Document(self.own["organisation"], kind, name[1:])
        return self.documents[name]

    def visit_document(self, visit):
        return self.document(b"\0" + visit)

    def visit(self, visit):
        return Visit(self.visit_document(visit))

    def _wall(self):
        return time.time_ns() // 1_000_000

    def moment(self):
        since_boot = int((time.monotonic() - self.booted) * 1000)
        cursor = self.own["cursor"] or self.own["log"]["cursor"]
        moment = [self._wall(), self.boot, since_boot, cursor[1] if cursor else 0]
        if cursor:
            return moment + [self.skew, int.from_bytes(cursor[0][:4], "big")]
        return moment if self.skew is None else moment + [self.skew]

    def _write_entry(self, visit, section, entry):
        document = self.visit_document(visit)
        if document.refused:
            raise Refused(document.refused[0])
        hash = document.write(self.actor(), section, entry)
        self.save()
        return hash

    def _record(self, visit, act):
        return self._write_entry(visit, "recordings", {0: self.own["user"], 1: self.moment(), 3: act})

    def start_call(self, id):
        """Begins a planned call, or goes on with it."""
        call = self.record_of(CALL, id)
        visit = call_visit(self.own["organisation"], id)
        read = self.visit(visit)
        if read.status == "abandoned" or not read.started(self.own["user"]):
            outlet = self.record_of(OUTLET, call[1])
            audience = read.start.act[3:5] if read.start else [outlet[3], outlet[4]]
            template = [call[4], self.record_of(TEMPLATE, call[4])[1]]
            self._record(visit, [START, call[1], id, *audience, template])
        return visit

    def words(self, digest):
        """A note's text; of one that was erased, when."""
        erased = self.records.get(bytes([ERASED]) + digest[:16])
        return f"erased at {decode(erased)[1][3]}" if erased else self.notes[digest][1]

    def note(self, text):
        """Keeps a note; its digest."""
        note = [os.urandom(16), text.strip()]
        digest = sha256(note[0] + note[1].encode())
        self.notes[digest] = note
        return digest

    def observe(self, visit, observations, photos=(), settle=False):
        """`observations` are (check, subject, value). Whoever settles replaces everyone's values."""
        read = self.visit(visit)
        outlet = self.record_of(OUTLET, read.start.act[1])
        template = read.start.act[5][0]
        version = lambda record: [record[0], record[1]]
        held = {record[0]: version(record) for record in self.records_of(PLANOGRAM)}
        planograms = [held[number] for number in outlet[10] if number in held]
        lists = [version(record) for record in self.records_of(PRICE_LIST) if outlet[5] in record[5]]
        runs, older = [], set()
        for check, subject, _ in observations:
            runs = runs[:-2] + [check, runs[-1] + 1] if runs[-2:-1] == [check] else runs + [check, 1]
            for recording, _ in read.values.get((check, encode(subject)), []):
                if settle or recording.by == self.own["user"]:
                    older.add(recording.hash)
        columns = [runs, [subject for _, subject, _ in observations], [value for _, _, value in observations]]
        body = {0: version(self.record_of(TEMPLATE, template)), 1: planograms}
        if lists:
            body[2] = lists[0]
        body.update({3: columns, 4: list(photos), 5: sorted(older)})
        return self._record(visit, [OBSERVE, body])

    def submit(self, visit):
        return self._write_entry(visit, "submissions", {0: self.own["user"], 1: self.moment()})

    def give_up(self, visit):
        """Section 12: drops what the server has refused of a visit."""
        refused = self.visit_document(visit)
        self._begin_anew(refused).keep_theirs(refused, self._own())
        self.save()

    def propose(self, visit):
        """Section 12: says again what the server has refused, as a new actor, and names what is new by its new name."""
        refused = self.visit_document(visit)
        left, now = self._begin_anew(refused), {}
        for hash, change in refused.changes.items():
            if hash not in refused.pending or change.actor[:8] not in self._own():
                continue
            now[hash] = left.says(change)
            if now[hash] is None:
                entry = renamed(decode(change.value), now)
                if change.section == "recordings" and entry[3][0] == START:
                    outlet = self.record_of(OUTLET, entry[3][1])
                    entry[3][3:5] = [outlet[3], outlet[4]]
                now[hash] = left.write(self.actor(), change.section, entry)
        left.keep_theirs(refused, self._own())
        self.save()

    def _own(self):
        """The fingerprints of all keys that it has had."""
        return [self.fingerprint(), *self.own["former"]]

    def _drop(self, document):
        left = document.confirmed()
        self.documents[bytes([KINDS.index(left.kind)]) + left.id] = left
        self.own["instance"] = os.urandom(8)
        return left

    def _begin_anew(self, document):
        """What had no place beside what is dropped comes again."""
        left = self._drop(document)
        if left.passed:
            left.passed, self.own["cursor"], self.own["filled"] = set(), None, None
        return left

    # ---- sections 12 and 13: sync

    def sync(self, uploading=lambda offset: None):
        """Pushes, pulls, repairs what differs, pushes what came meanwhile, sends photos. `uploading` hears of each
        offset."""
        try:
            return self._sync(uploading)
        except Problem as problem:
            if problem.code in ("revoked", "inactive"):
                self.withdraw()
            raise

    def _sync(self, uploading):
        report = {"requests": 0, "received": 0, "pages": 0, "rewinds": 0, "repairs": 0, "outcomes": []}
        undone = []

        def tries(step, *codes):
            """What the server cannot do now keeps nothing else back."""
            try:
                step(report)
            except Problem as problem:
                if problem.code not in codes:
                    raise
                undone.append(problem)

        unpushed = "disk_full", "busy", "rate_limited", "internal"
        tries(self.push, *unpushed)
        more = True
        while more:
            try:
                more = self.pull(report)
            except Problem as problem:
                if problem.code != "cursor_unknown" or report["rewinds"]:
                    raise
                report["rewinds"] += 1
                self.rewind()
            except Lacking:
                if report["repairs"]:
                    raise
                tries(self.repair, "busy")
        self.sweep()
        if self.said is not None and not report["repairs"] and self.said != self.inventory().whole():
            tries(self.repair, "busy")
        tries(self.push, *unpushed)
        if report["repairs"]:
            self.sweep()
        self.send_photos(uploading)
        if undone:
            raise undone[0]
        return report

    def push(self, report):
        aim, without, unpushed = PUSH_BYTES, set(), None
        while True:
            message, sent = self._next_push(aim, without)
            if not sent:
                break
            try:
                self.send_push(message, sent, report)
            except Problem as problem:
                tried = {document.id for document, _ in sent}
                if problem.code not in ("too_large", "internal") or len(without) == FAILED_MAX:
                    raise
                if len(tried) == 1:
                    without |= tried
                    unpushed = problem
                else:
                    aim = 0
        if unpushed:
            raise unpushed

    def _next_push(self, aim, without):
        groups, notes, sent, size = [], {}, [], 0
        # A volume follows those before it.
        for document in sorted(self.documents.values(), key=lambda document: document.volume()[1]):
            waiting = document.waiting()
            if not waiting or document.refused or document.id in without:
                continue
            parts = document.parts(self._own())
            if sent and (size > aim or len(groups) + len(parts) > GROUPS_MAX):
                break
            signers = {self.fingerprint(): self._sign}
            organisation = self.own["organisation"]
            for part in parts:
                groups.append(write_group(organisation, document.kind, document.id, part, signers, document.seals))
                sent.append((document, list(part)))
            size += sum(map(change_bytes, waiting.values()))
            for change in waiting.values():
                notes.update((digest, self.notes[digest]) for digest in named(change).notes if digest in self.notes)
        message = {0: 1, 1: self.moment()}
        if self.own["pushed"]:
            message[2] = self.own["pushed"]
        message.update({3: groups, 4: list(notes.values())})
        return message, sent

    def send_push(self, message, sent, report):
        name, reply = self._ask_cbor("/api/v1/push", message, report)
        with self._whole():
            need(reply[2] == name and len(reply[3]) == len(sent), "an answer to another push")
            pushed = {hash for _, hashes in sent for hash in hashes}
            for group, (document, hashes), outcome in zip(message[3], sent, reply[3]):
                here = hashes if outcome[0] != 1 else outcome[3] if len(outcome) > 3 and outcome[3] else []
                if outcome[0] == 1 and (not document.refused or outcome[1] == "quarantine_full"):
                    document.refused = outcome[1:3]
                    document.apart = outcome[1] != "quarantine_full" and document.pending <= pushed
                document.gone |= outcome[0] == 2
                document.confirm(here)
                if here:
                    document.seals.update((hashes[place], signature) for place, signature in group[3])
                    self._offer_next(document)
                report["outcomes"].append({0: "accepted", 2: "let go"}.get(outcome[0]) or outcome[1])
            self.own["pushed"] = name

    def pull(self, report):
        """Takes one page in; whether there is more."""
        question = {0: 1, 4: Watch(self.own["organisation"], self.own["log"]).known()}
        for key, name in (1, "cursor"), (2, "pushed"), (3, "filled"):
            if self.own[name]:
                question[key] = self.own[name]
        if self.own["cursor"]:
            waits = min(map(self._knew, self.documents.values()), default=self.own["cursor"][1])
            if waits < self.own["cursor"][1]:
                question[5] = waits
        _, page = self._ask_cbor("/api/v1/pull", dict(sorted(question.items())), report)
        report["pages"] += 1
        self.take(page)
        return page[3]

    def _knew(self, document):
        """How much of the log it knew when it wrote the oldest of what is to be pushed of a document."""
        origin, known = self.own["cursor"][:2]
        if document.refused:
            return known
        for change in document.waiting().values():
            entry = entry_of(change) if change.actor[:8] in self._own() else None
            if entry:
                here = entry[1][5:6] == [int.from_bytes(origin[:4], "big")]
                known = min(known, entry[1][3] if here else 0)
        return known

    def take(self, page):
        """A page is taken whole or not at all."""
        with self._whole():
            keys, log = self._keys(page[4]), self.own["log"]
            if self.own["cursor"] is None:
                if log["cursor"] and log["cursor"][0] != page[2][0]:
                    self._unconfirm()
                # What the server does not list any more goes.
                self.records = {}
            for kind, id in page.get(8) or []:
                self.records.pop(bytes([kind]) + id, None)
                if kind == OUTLET:
                    self._set_gone(id, True)
            for kind, id in page.get(11) or []:
                if bytes([kind]) + id in self.documents:
                    self.documents[bytes([kind]) + id].gone = True
            for raw in page[4]:
                self._keep_record(raw)
            for group in page[5]:
                self._take_group(group, keys)
            for (kind, id), head, outcome in page.get(9) or []:
                document = self.documents.get(bytes([kind]) + id)
                if not document:
                    continue
                came = head not in document.pending and outcome[0] != 1
                if head not in document.changes or came:
                    if document.refused and document.refused[0] != "forked":
                        document.refused = None
                elif head in document.pending:
                    # What others wrote is brought first, and this is heard again.
                    if outcome[0] == 1 and (document.refused or not document.theirs(self._own())):
                        document.apart |= not document.refused
                        document.refused = outcome[1:3]
                    elif outcome[0] != 1:
                        document.confirm([head])
                        document.refused = None
            self._keep_notes(page[6])
            self.own["cursor"], self.own["filled"] = page[2], page.get(7)
            if not page[3]:
                Watch(self.own["organisation"], log).hear(page[2], page.get(12))
            self.said = page.get(10)

    def alarm_seen(self):
        Watch(self.own["organisation"], self.own["log"]).alarm_seen()
        self.save()

    def _keys(self, came):
        """The keys of the devices that are here or come with an answer, by fingerprint."""
        records = [decode(raw) for raw in came]
        devices = self.records_of(DEVICE) + [record[1] for record in records if record[0] == DEVICE]
        return {fingerprint(device[2]): device[2] for device in devices}

    def _keep_notes(self, notes):
        for salt, text in notes:
            self.notes[sha256(salt + text.encode())] = [salt, text]

    def _take_group(self, group, keys):
        kind, id, changes, seals = read_group(self.own["organisation"], group, keys)
        document = self.document(bytes([KINDS.index(kind)]) + id)
        try:
            document.merge(changes, seals)
        except Misfit as misfit:
            if misfit.code != "missing_parent":
                document.apart &= document.refused is not None
                document.refused = ["forked", "the server has other work of one of its actors"]
            elif not document.refused:
                raise Lacking(f"a change of {kind} {id.hex()} whose parents are not here") from misfit
        waiting = [document.changes[hash] for hash in document.pending]
        if document.refused and document.refused[0] == "said_already" and all(map(document.says, waiting)):
            document = self._drop(document)
        self._offer_next(document)
        return document, changes

    def _offer_next(self, document):
        """Section 12: what was refused of the next volume, since it came too early, may be taken now."""
        next = document.volume()[0], document.volume()[1] + 1
        for other in self.documents.values():
            if "outlet" == document.kind == other.kind and other.volume() == next:
                if other.refused and other.refused[0] in EARLY:
                    other.refused = None

    def rewind(self):
        """The log was never where this device stands: the server may have lost anything."""
        with self._whole():
            self.own["cursor"] = self.own["filled"] = None
            self._unconfirm()

    def _unconfirm(self):
        self.own["pushed"] = None
        for document in self.documents.values():
            document.unconfirm()
        for photo in self.photos.values():
            photo["sent"] = photo["begun"] = False

    # ---- section 13, sight, and section 17

    def _set_gone(self, outlet, gone):
        for document in self.documents.values():
            if document.kind == "outlet" and document.volume()[0] == outlet:
                document.gone = gone

    def _sight(self):
        """Whether the person's scope holds a territory and distributor; None for one who was let go."""
        raw = self.records.get(bytes([PERSON]) + self.own["user"])
        if raw is None or not decode(raw)[1][4]:
            return None
        kind, scope = decode(raw)[1][3][:2]
        parents = {record[0]: record.get(1) for record in self.records_of(TERRITORY)}

        def sees(territory, distributor):
            if kind == 1:
                return distributor == scope
            above = [territory]
            while len(above) < 16:
                above.append(parents.get(above[-1]))
            return scope in above

        return sees

    def sweep(self):
        """Drops what is out of sight once all of it is confirmed, with the notes and photos that nothing else names."""
        sees = self._sight()
        if sees is None:
            return
        with self._whole():
            outlets = {record[0]: sees(record[3], record[4]) for record in self.records_of(OUTLET)}
            for id in [id for id, seen in outlets.items() if not seen]:
                del self.records[bytes([OUTLET]) + id]
            for call in self.records_of(CALL):
                if not outlets.get(call[1]):
                    del self.records[bytes([CALL]) + call[0]]
            going = []
            for name, document in self.documents.items():
                seen = not document.gone and self._seen(document, outlets, sees)
                document.hidden = not seen
                if not seen and not document.pending:
                    going.append(name)
            self._forget(going)

    def _forget(self, going):
        """Documents go, with the notes and photos that nothing else names."""
        going = [self.documents.pop(name) for name in going]
        if any(document.newest(self.actor())[0] for document in going):
            self.own["instance"] = os.urandom(8)
        named = set().union(*(document.named() for document in self.documents.values()))
        for digest in set().union(*(document.named() for document in going)) - named:
            self.notes.pop(digest, None)
            if digest in self.photos:
                self.photos[digest]["unnamed"] = True
                if self.photos[digest]["sent"]:
                    self._forget_photo(digest)

    def withdraw(self):
        """Drops what others wrote and what the own work is not about."""
        with self._whole():
            self.own["cursor"] = self.own["filled"] = self.own["pushed"] = None
            keys = self.own["former"] + [self.fingerprint()]
            own = {
                name
                for name, document in self.documents.items()
                if document.pending or any(change.actor[:8] in keys for change in document.changes.values())
            }
            about = {self._outlet(self.documents[name]) for name in own}
            volume = lambda document: document.kind == "outlet" and self._outlet(document) in about
            self._forget([n for n, document in self.documents.items() if n not in own and not volume(document)])
            for kind, outlet in [(OUTLET, 0), (CALL, 1)]:
                for record in self.records_of(kind):
                    if record[outlet] not in about:
                        del self.records[bytes([kind]) + record[0]]

    def _outlet(self, document):
        if document.kind == "outlet":
            return document.volume()[0]
        start = Visit(document).start
        return start.act[1] if start else None

    def _seen(self, document, outlets, sees):
        if document.kind == "visit":
            return any(sees(*audience) for audience in document.audiences())
        outlet, _ = document.volume()
        first = self.documents.get(b"\1" + outlet)
        unlisted = first.audiences() if first else []
        return outlets[outlet] if outlet in outlets else any(sees(*audience) for audience in unlisted)

    # ---- section 13, Repair

    def inventory(self):
        items = {b"\0" + key: [record_digest(key, raw)] for key, raw in self.records.items()}
        items.update((b"\1" + name, document.held()) for name, document in self.documents.items())
        return Inventory(items)

    def repair(self, report):
        """Asks where it differs from the server, and takes what it lacks. What the server lacks waits to be sent."""
        report["repairs"] += 1
        ask = lambda parts, wanted: self._ask_cbor("/api/v1/repair", {0: 1, 1: parts, 2: wanted}, report)[1]
        wanted, astray = self.inventory().differences(lambda parts: ask(parts, [])[2])
        with self._whole():
            for item in astray:
                if item[0] == 0:
                    del self.records[item[1:]]
                    continue
                document = self.documents[item[1:]]
                document.astray = True
                if not document.refused or document.refused[0] != "forked":
                    document.send_again([])
        while wanted:
            reply = ask([], wanted[:WANTED_MAX])
            with self._whole():
                need(1 <= reply[3] <= len(wanted[:WANTED_MAX]), "a repair that does not go on")
                given, wanted = wanted[: reply[3]], wanted[reply[3] :]
                keys = self._keys(reply[4])
                for raw in reply[4]:
                    self._keep_record(raw)
                for group in reply[5]:
                    need(b"\1" + bytes([group[0][0]]) + group[0][1] in given, "what was not wanted")
                    document, changes = self._take_group(group, keys)
                    # It is as the server has it now; what is only here is sent.
                    document.passed &= set(changes)
                    document.send_again(changes)
                self._keep_notes(reply[6])

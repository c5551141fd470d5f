"""A client of docs/protocol.md that shares no code with the others: enrols, captures visits without a network,
syncs. Python 3.9 and nothing else. Section numbers are those of the document."""

import base64
import hashlib
import http.client
import json
import os
import pathlib
import time
import urllib.parse
import uuid

import ed25519
from document import *

MEDIA_TYPE = "application/vnd.endcap.sync+cbor"
TERRITORY, DISTRIBUTOR, PERSON, DEVICE, PRODUCT, PLANOGRAM, PRICE_LIST = range(7)
TEMPLATE, OUTLET, CALL = 9, 10, 11
PUSH_BYTES = 512 << 10
PIECE_BYTES = 256 << 10
TIMEOUT_S = 60


class Problem(Exception):
    """The server did not do it. `later`: keep everything and try again."""

    def __init__(self, status, body):
        try:
            self.code = json.loads(body)["type"].rsplit(":", 1)[1]
        except (ValueError, LookupError, TypeError):
            self.code = "unknown"
        self.status, self.later = status, status in (408, 429) or status >= 500
        super().__init__(f"{status} {self.code}")


class Refused(Exception):
    """The server has refused a document's work: it is not written to."""


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def call_visit(organisation, call):
    """UUIDv5, section 1."""
    id = bytearray(hashlib.sha1(organisation + call).digest()[:16])
    id[6], id[8] = id[6] & 15 | 5 << 4, id[8] & 63 | 128
    return bytes(id)


class Client:
    """All that one device has, in one file that is written anew for each change of it."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        # Each run of the client counts as a boot: section 18.
        self.boot, self.booted, self.skew = int.from_bytes(os.urandom(4), "big"), time.monotonic(), None
        self.own, self.records, self.documents, self.notes, self.photos = {}, {}, {}, {}, {}
        (self.folder / "photos").mkdir(parents=True, exist_ok=True)
        try:
            stored = decode((self.folder / "store").read_bytes())
        except FileNotFoundError:
            self.own = {"seed": os.urandom(32), "instance": os.urandom(8), "cursor": None, "pushed": None}
            self.save()
            return
        self.own, self.records, documents, self.notes, self.photos = stored
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

    # ---- section 2: HTTP

    def _ask(self, method, path, body=None, headers=None):
        """Status, headers, body. Redirects are not followed: `http.client` does not."""
        server = urllib.parse.urlsplit(self.own["server"])
        secure = server.scheme == "https"
        connect = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        connection = connect(server.hostname, server.port, timeout=TIMEOUT_S)
        headers = {"Accept-Encoding": "identity", **(headers or {})}
        if "token" in self.own:
            headers["Authorization"] = "Bearer " + self.own["token"]
        try:
            connection.request(method, server.path + path, body, headers)
            answer = connection.getresponse()
            data = answer.read()
        finally:
            connection.close()
        if not 200 <= answer.status < 300:
            raise Problem(answer.status, data)
        return answer.status, answer.headers, data

    def _ask_json(self, path, question):
        headers = {"Content-Type": "application/json"}
        return json.loads(self._ask("POST", path, json.dumps(question).encode(), headers)[2])

    def _ask_cbor(self, path, question, report):
        body = encode(question)
        _, _, data = self._ask("POST", path, body, {"Content-Type": MEDIA_TYPE})
        report["requests"] += 1
        report["received"] += len(data)
        reply = decode(data)
        need(reply[0] == 1, "another protocol")
        self.skew = reply[1] - self._wall()
        return sha256(body), reply

    # ---- section 3: enrolment

    def enrol(self, server, code, label):
        self.own["server"] = server
        self.save()
        proof = self._sign(b"endcap enrol v1\0" + code.encode())
        key = base64url(ed25519.public(self.own["seed"]))
        answer = self._ask_json(
            "/api/v1/enrol", {"code": code, "key": key, "proof": base64url(proof), "label": label}
        )
        need(answer["protocol"] == 1, "another protocol")
        id = lambda text: uuid.UUID(text).bytes
        self.own.update(
            organisation=id(answer["organisation"]["id"]), user=id(answer["user"]["id"]), token=answer["token"]
        )
        self.save()

    def _sign(self, message):
        return ed25519.sign(self.own["seed"], message)

    def actor(self):
        return fingerprint(ed25519.public(self.own["seed"])) + self.own["instance"]

    # ---- section 16: records

    def _keep_record(self, raw):
        record = decode(raw)
        id = record[1][0]
        id = id if isinstance(id, bytes) else id.to_bytes(16, "big")
        self.records[encode(record[0]) + id] = raw

    def record_of(self, kind, id):
        id = id if isinstance(id, bytes) else id.to_bytes(16, "big")
        return decode(self.records[encode(kind) + id])[1]

    def records_of(self, kind):
        begins = encode(kind)
        return [decode(raw)[1] for key, raw in self.records.items() if key.startswith(begins)]

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
        cursor = self.own["cursor"]
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

    def note(self, text):
        """Keeps a note; its digest."""
        note = [os.urandom(16), text.strip()]
        digest = sha256(note[0] + note[1].encode())
        self.notes[digest] = note
        return digest

    def add_photo(self, file, phash):
        """Keeps a photo to be attached and sent; what an entry says of it."""
        hash = sha256(file)
        self._replace(self.folder / "photos" / hash.hex(), file)
        self.photos[hash] = {"sent": False, "begun": False}
        self.save()
        return [hash, len(file), phash]

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

    # ---- sections 12 and 13: sync

    def sync(self, uploading=lambda offset: None):
        """Pushes, pulls, pushes what came meanwhile, sends photos. `uploading` hears of each offset."""
        report = {"requests": 0, "received": 0, "pages": 0, "rewinds": 0, "outcomes": []}
        self.push(report)
        try:
            more = self.pull(report)
        except Problem as problem:
            if problem.code != "cursor_unknown":
                raise
            report["rewinds"] += 1
            self.rewind()
            more = True
        while more:
            more = self.pull(report)
        self.push(report)
        self.send_photos(uploading)
        return report

    def push(self, report):
        while True:
            groups, notes, sent, size = [], {}, [], 0
            for name, document in self.documents.items():
                own = {hash: c for hash, c in document.changes.items() if hash in document.pending}
                if not own or document.refused:
                    continue
                if size > PUSH_BYTES or len(groups) == 2000:
                    break
                organisation = self.own["organisation"]
                groups.append(write_group(organisation, document.kind, document.id, own, self._sign))
                sent.append((document, own))
                size += sum(len(change.value) for change in own.values())
                for change in own.values():
                    notes.update((digest, self.notes[digest]) for digest in self._named(change))
            if not groups:
                return
            message = {0: 1, 1: self.moment()}
            if self.own["pushed"]:
                message[2] = self.own["pushed"]
            message.update({3: groups, 4: list(notes.values())})
            self.send_push(message, sent, report)

    def send_push(self, message, sent, report):
        name, reply = self._ask_cbor("/api/v1/push", message, report)
        need(reply[2] == name and len(reply[3]) == len(sent), "an answer to another push")
        for (document, own), outcome in zip(sent, reply[3]):
            if outcome[0] != 1:
                document.pending -= set(own)
            else:
                document.refused = outcome[1:3]
                for head in outcome[3] if len(outcome) > 3 else []:
                    document.confirm(head)
            report["outcomes"].append(outcome[1] if outcome[0] == 1 else "accepted")
        self.own["pushed"] = name
        self.save()

    def _named(self, change):
        """The digests of the notes here that an entry names."""
        found, waiting = [], [decode(change.value)]
        while waiting:
            value = waiting.pop()
            if isinstance(value, dict):
                waiting += value.values()
            elif isinstance(value, list):
                waiting += value
            elif isinstance(value, bytes) and value in self.notes:
                found.append(value)
        return found

    def pull(self, report):
        """Takes one page in; whether there is more."""
        question = {0: 1}
        if self.own["cursor"]:
            question[1] = self.own["cursor"]
        if self.own["pushed"]:
            question[2] = self.own["pushed"]
        if self.own.get("filled"):
            question[3] = self.own["filled"]
        _, page = self._ask_cbor("/api/v1/pull", question, report)
        report["pages"] += 1
        self.take(page)
        return page[3]

    def take(self, page):
        """A page is taken whole or not at all: what is refused raises before anything is kept."""
        records = [decode(raw) for raw in page[4]]
        devices = self.records_of(DEVICE) + [record[1] for record in records if record[0] == DEVICE]
        keys = {fingerprint(device[2]): device[2] for device in devices}
        merged = {}
        for group in page[5]:
            kind, id, changes = read_group(self.own["organisation"], group, keys)
            name = bytes([KINDS.index(kind)]) + id
            known = merged.get(name) or self.documents.get(name)
            document = Document(self.own["organisation"], kind, id)
            merged[name] = self._merge(document.unpack(known.packed()) if known else document, changes)
        for raw in page[4]:
            self._keep_record(raw)
        self.documents.update(merged)
        for (kind, id), head, outcome in page.get(9) or []:
            document = self.documents.get(bytes([kind]) + id)
            if document and head in document.pending:
                if outcome[0] != 1:
                    document.confirm(head)
                else:
                    document.refused = outcome[1:3]
        self.notes.update((sha256(salt + text.encode()), [salt, text]) for salt, text in page[6])
        self.own["cursor"], self.own["filled"] = page[2], page.get(7)
        self.save()

    def _merge(self, document, changes):
        for hash, change in changes.items():
            try:
                document.insert(change)
                document.pending.discard(hash)
            except Misfit as misfit:
                if misfit.code == "forked":
                    document.refused = ["forked", "the server has other work of one of its actors"]
                elif not document.refused:
                    raise Malformed(f"a change that does not fit: {misfit.code}")
        if not document.pending:
            document.refused = None
        return document

    def rewind(self):
        self.own["cursor"] = self.own["pushed"] = self.own["filled"] = None
        own = self.actor()[:8]
        for document in self.documents.values():
            document.pending = {h for h, c in document.changes.items() if c.actor[:8] == own}
            if document.refused and document.refused[0] in ("missing_parent", "missing_note"):
                document.refused = None
        self.save()

    # ---- section 19: photos

    def send_photos(self, uploading):
        waiting = [hash for hash, photo in self.photos.items() if not photo["sent"]]
        if not waiting:
            return
        answer = self._ask_json("/api/v1/photos/missing", {"hashes": [hash.hex() for hash in waiting]})
        missing = [bytes.fromhex(text) for text in answer["missing"]]
        for hash in waiting:
            if hash in missing:
                self._upload(hash, uploading)
            self.photos[hash]["sent"] = True
            self.save()

    def _tus(self, method, path, headers, body=None):
        answer = self._ask(method, path, body, {"Tus-Resumable": "1.0.0", **headers})
        return int(answer[1]["Upload-Offset"])

    def _upload(self, hash, uploading):
        file = (self.folder / "photos" / hash.hex()).read_bytes()
        path, offset = f"/api/v1/uploads/{hash.hex()}", None
        if self.photos[hash]["begun"]:
            try:
                offset = self._tus("HEAD", path, {})
            except Problem as problem:
                if problem.status != 404:
                    raise
        if offset is None:
            name = base64.b64encode(hash.hex().encode()).decode()
            headers = {"Upload-Length": str(len(file)), "Upload-Metadata": f"sha256 {name}"}
            offset = self._tus("POST", "/api/v1/uploads", headers)
            self.photos[hash]["begun"] = True
            self.save()
        uploading(offset)
        while offset < len(file):
            piece = file[offset : offset + PIECE_BYTES]
            headers = {
                "Content-Type": "application/offset+octet-stream",
                "Upload-Offset": str(offset),
                "Upload-Checksum": "sha256 " + base64.b64encode(sha256(piece)).decode(),
            }
            offset = self._tus("PATCH", path, headers, piece)
            uploading(offset)

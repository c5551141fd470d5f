"""A device's photos: docs/protocol.md, section 19."""

import base64

from formats import need, sha256
from server import Problem

PIECE_BYTES = 256 << 10
ASKED_MAX = 1000
# After these the server says where to go on.
GOES_ON = ("chunk_mismatch", "offset_mismatch", "superseded", "too_slow")


class Photos:
    """Of a client: the files in its folder, and what it knows of each in `self.photos`."""

    def _photo_file(self, hash):
        return self.folder / "photos" / hash.hex()

    def add_photo(self, file, phash):
        """Keeps a photo to be attached and sent; what an entry says of it."""
        hash = sha256(file)
        self._replace(self._photo_file(hash), file)
        self.photos[hash] = {"sent": False, "begun": False, "refused": None, "unnamed": False}
        self.save()
        return [hash, len(file), phash]

    def fetch_photo(self, hash):
        file = self.server.ask("GET", f"/api/v1/photos/{hash.hex()}")[2]
        need(sha256(file) == hash, "another file than was asked for")
        return file

    def _forget_photo(self, hash):
        if self.photos.pop(hash, None):
            self._photo_file(hash).unlink(missing_ok=True)

    def _in_order(self):
        """Those that wait, as they are needed: begun, of submitted visits, of others, of refused work."""
        rank = {}
        for document in self.documents.values():
            submitted = any(change.section == "submissions" for change in document.changes.values())
            for hash in document.named():
                rank[hash] = min(rank.get(hash, 4), 3 if document.refused else 1 if submitted else 2)
        waiting = [hash for hash, photo in self.photos.items() if not photo["sent"] and not photo["refused"]]
        return sorted(waiting, key=lambda hash: 0 if self.photos[hash]["begun"] else rank.get(hash, 4))

    def send_photos(self, uploading):
        """`uploading` hears of each offset. What is not taken does not stand in the way of the others."""
        waiting, missing, full = self._in_order(), set(), None
        for some in (waiting[n : n + ASKED_MAX] for n in range(0, len(waiting), ASKED_MAX)):
            answer = self.server.ask_json("/api/v1/photos/missing", {"hashes": [hash.hex() for hash in some]})
            missing |= {bytes.fromhex(text) for text in answer["missing"]}
        for hash in waiting:
            try:
                if hash in missing:
                    self._upload(hash, uploading)
                self.photos[hash]["sent"] = True
                if self.photos[hash]["unnamed"]:
                    self._forget_photo(hash)
            except Problem as problem:
                if problem.code == "erased":
                    self._forget_photo(hash)
                elif problem.code in ("not_an_image", "too_large"):
                    self.photos[hash]["refused"] = problem.code
                elif problem.code == "checksum_mismatch":
                    self.photos[hash]["begun"] = False
                elif problem.code == "quota_full":
                    full = problem
                elif problem.code != "not_referenced":
                    raise
            self.save()
        if full:
            raise full

    def _tus(self, method, path, headers, body=None):
        answer = self.server.ask(method, path, body, {"Tus-Resumable": "1.0.0", **headers})
        return int(answer[1]["Upload-Offset"])

    def _upload(self, hash, uploading):
        file = self._photo_file(hash).read_bytes()
        # Where the server says that it is, it is: no location is followed.
        path, offset, again = f"/api/v1/uploads/{hash.hex()}", None, None
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
            try:
                offset = self._tus("PATCH", path, headers, piece)
            except Problem as problem:
                # Each offset is tried twice at most.
                if again == offset or problem.code not in GOES_ON:
                    raise
                again, offset = offset, self._tus("HEAD", path, {})
            uploading(offset)

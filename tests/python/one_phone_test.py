"""Several people and organisations on one phone do not mix, and its files say nothing without the key."""

import os
import subprocess
import sys
import unittest

from endcap import Client, ClientError
from world import *


class OnePhone(unittest.TestCase):
    def test_folders_share_nothing(self):
        issued = codes("Rita", "Sam") + codes("Rita", org=1)
        start()
        rita, sam = phone("Rita", issued[0]), phone("Sam", issued[1])
        elsewhere = phone("Rita", issued[2], org=1)
        for client in (rita, sam, elsewhere):
            sync(client)
        names = [(c.enrolment().organisation_name, c.enrolment().user_name) for c in (rita, sam, elsewhere)]
        self.assertEqual(names, [("Nordgard 0", "Rita"), ("Nordgard 0", "Sam"), ("Nordgard 1", "Rita")])
        # The scope decides: Cedar is served by another distributor, Dogwood lies in another region.
        self.assertEqual(sorted(today(rita)), ["Aster", "Birch", "Cedar"])
        self.assertEqual(sorted(today(sam)), ["Aster", "Birch", "Dogwood"])

        # The same planned call, in two organisations whose calls even have the same ids.
        call = today(rita)["Aster"].id
        self.assertEqual(today(elsewhere)["Aster"].id, call)
        visit = rita.start_call(call)
        rita.record(visit, [facings(1, 1)])
        rita.submit(visit)
        self.assertNotEqual(elsewhere.start_call(call), visit)
        for client in (sam, elsewhere):
            with self.assertRaises(ClientError.NotHere):
                client.visit(visit)
        self.assertEqual(sam.outstanding().documents, [])
        for client in (rita, sam, elsewhere):
            sync(client)
        self.assertEqual(sam.visit(visit).people, ["Rita"])
        with self.assertRaises(ClientError.NotHere):
            elsewhere.visit(visit)

        # A folder stays with whom it was enrolled for.
        [code] = [office("code", person="Sam")]
        with self.assertRaises(ClientError.AlreadyEnrolled):
            phone_of(rita, code)
        self.assertEqual(rita.enrolment().user_name, "Rita")

    def test_a_folder_is_opened_once_and_with_its_key(self):
        folder = str(SCRATCH / "opened")
        first = Client.open(folder, key("a"))
        with self.assertRaises(ClientError.InUse):
            Client.open(folder, key("a"))
        attempt = "import sys, endcap; endcap.Client.open(sys.argv[1], b'a' + b'.' * 31)"
        run = subprocess.run([sys.executable, "-B", "-c", attempt, folder], capture_output=True, text=True)
        self.assertIn("ClientError.InUse", run.stderr)
        del first
        before = contents(folder)
        for wrong in (key("b"), bytes(32)):
            with self.assertRaises(ClientError.WrongKey):
                Client.open(folder, wrong)
        with self.assertRaises(ClientError.Invalid):
            Client.open(folder, b"short")
        self.assertEqual(contents(folder), before)
        Client.open(folder, key("a"))

    def test_files_reveal_nothing(self):
        [code] = codes("Sam")
        server = start()
        sam = phone("Sam", code, org=2)
        sync(sam)
        call = today(sam)["Birch"]
        visit = sam.start_call(call.id)
        secret = "The owner is Mrs Hollanderova"
        gtin = call.outlet.must_stock[0]
        unlisted = endcap.Observation(
            check=STOCK, subject=endcap.Subject.UNLISTED(label="Purple jar"), value=stock(gtin, True).value
        )
        recording = sam.record(visit, [words(secret), price(gtin, 123457), unlisted], [sam.add_photo(picture(7))])
        sam.comment(visit, "Keys are under the mat")
        sam.report_outlet("Zebrafinch kiosk", "Lower lane 4", call.outlet.id, note="Opens at noon")
        # Each is long enough not to be met by chance in what is sealed.
        plain = [secret, "Mrs Hollanderova", "Purple jar", "under the mat", "Zebrafinch", "Lower lane", "at noon",
                 "market", "Nordgard", "Breakfast", gtin, server.removeprefix("http://"), "/api/", call.id,
                 visit, recording, key("Sam").decode().strip(".") + "..."]
        binary = [bytes.fromhex(visit.replace("-", "")), bytes.fromhex(recording), int(gtin).to_bytes(6, "big"),
                  b"\xff\xd8\xff\xe0\x00\x10JFIF", b"SQLite format 3\0secret"]
        for state in ("open", "closed"):
            found = contents(str(SCRATCH / "phone-2-Sam"))
            self.assertGreater(sum(map(len, found.values())), 20_000)
            for name, data in found.items():
                for word in [word.encode() for word in plain] + binary:
                    self.assertNotIn(word, data, f"{name} ({state})")
            names = " ".join(found)
            photos = [photo for r in sam.visit(visit).recordings for photo in r.photos] if state == "open" else photos
            self.assertEqual(len(photos), 1)
            self.assertNotIn(photos[0], names)
            if state == "open":
                del sam
        stop()

    def test_diagnostics_name_nobody(self):
        [code] = codes("Rita")
        start()
        rita = phone("Rita", code, org=3)
        sync(rita)
        call = today(rita)["Aster"]
        visit = rita.start_call(call.id)
        rita.record(visit, [words("Quite private")])
        report = rita.diagnostics()
        json.loads(report)
        for word in ("Rita", "Aster", "Nordgard", "private", "127.0.0.1", call.outlet.must_stock[0], call.id):
            self.assertNotIn(word, report)
        stop()

    def tearDown(self):
        # The first test leaves its server running.
        if self.id().endswith("share_nothing"):
            stop()


def phone_of(client, code):
    import world
    return asyncio.run(client.enrol(world._running, code, "once more"))


def contents(folder):
    found = {}
    for path, _, names in os.walk(folder):
        for name in names:
            with open(os.path.join(path, name), "rb") as file:
                found[name] = file.read()
    return found


main()

"""A phone that was withdrawn gets a clear refusal, and keeps what it has not handed over."""

import unittest

from endcap import ClientError
from world import *


class Revoked(unittest.TestCase):
    def test_unsynced_work_is_kept(self):
        rita, sam = phones("Rita", "Sam")
        others = sam.start_call(today(sam)["Aster"].id)
        sam.record(others, [facings(1, 1)])
        sync(sam)
        sync(rita)
        self.assertEqual(len(rita.visit(others).recordings), 2)
        visit = rita.start_call(today(rita)["Birch"].id)
        rita.record(visit, [facings(1, 2), words("Written before anybody knew")], [rita.add_photo(picture(9))])
        office("revoke", person="Rita")
        for _ in range(2):
            with self.assertRaises(ClientError.Revoked) as refused:
                sync(rita)
            self.assertIn("kept", str(refused.exception))
            # What others wrote is no business of whoever has the phone.
            with self.assertRaises(ClientError.NotHere):
                rita.visit(others)
            self.assertEqual(set(today(rita)), {"Birch"})
        # Capturing goes on working, too.
        rita.record(visit, [facings(2, 1)])
        self.kept(rita, visit)
        # What is there survives the end of the app.
        del rita
        rita = phone("Rita")
        self.kept(rita, visit)
        self.assertIsNone(office("visit", visit=visit))

        # With another code the same folder goes on under another key. What the lost key signed is a supervisor's to
        # decide on, and only then in.
        code = office("code", person="Rita")
        enrol(rita, code, "Rita's phone, found")
        self.kept(rita, visit)
        sync(rita)
        [work] = rita.outstanding().documents
        self.assertEqual((work.entries, work.refused), (3, "revoked_device"))
        self.assertEqual(rita.outstanding().photos, 0)
        self.assertIsNone(office("visit", visit=visit))
        office("decide", approve=True)
        sync(rita)
        self.assertEqual(rita.outstanding().documents, [])
        self.assertEqual(len(rita.visit(others).recordings), 2)
        self.assertIn("Aster", today(rita))
        rita.submit(visit)
        sync(rita)
        self.assertEqual(office("visit", visit=visit)["status"], "submitted")

    def kept(self, client, visit):
        outstanding = client.outstanding()
        [work] = outstanding.documents
        self.assertEqual((work.document, work.entries, work.refused), (f"visit/{visit}", 3, None))
        self.assertEqual(outstanding.photos, 1)
        seen = client.visit(visit)
        self.assertEqual([r.act for r in seen.recordings], ["start", "observe", "observe"])
        self.assertFalse(any(r.confirmed for r in seen.recordings))
        [said] = values(seen, WORDS, endcap.Subject.OUTLET())
        self.assertEqual(said.text, "Written before anybody knew")


main()

"""A phone that was withdrawn gets a clear refusal, and keeps what it has not handed over."""

import unittest

from endcap import ClientError
from world import *


class Revoked(unittest.TestCase):
    def test_unsynced_work_is_kept(self):
        [rita] = phones("Rita")
        visit = rita.start_call(today(rita)["Birch"].id)
        rita.record(visit, [facings(1, 2), words("Written before anybody knew")], [rita.add_photo(picture(9))])
        office("revoke", person="Rita")
        for _ in range(2):
            with self.assertRaises(ClientError.Revoked) as refused:
                sync(rita)
            self.assertIn("kept", str(refused.exception))
        # Capturing goes on working, too.
        rita.record(visit, [facings(2, 1)])
        self.kept(rita, visit)
        # What is there survives the end of the app.
        del rita
        self.kept(phone("Rita"), visit)
        self.assertIsNone(office("visit", visit=visit))

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

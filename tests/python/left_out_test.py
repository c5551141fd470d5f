"""What the rules no longer allow of refused work is left out when the rest is proposed again, and said."""

import unittest

from world import *


class LeftOut(unittest.TestCase):
    def test_it_is_said(self):
        [rita] = phones("Rita")
        visit = rita.start_call(today(rita)["Birch"].id)
        taken = rita.record(visit, [facings(1, 2)])
        sync(rita)
        # She takes it back and says why, on a phone whose access ends. On another one of hers it is submitted meanwhile.
        rita.undo(visit, taken)
        rita.comment(visit, "Counted the wrong shelf")
        office("revoke", person="Rita")
        other = phone("Rita's other", office("code", person="Rita"))
        sync(other)
        other.submit(visit)
        sync(other)
        enrol(rita, office("code", person="Rita"), "Rita's phone, found")
        sync(rita)
        self.waits(rita, "revoked_device", 2)
        [left_out] = rita.would_propose(f"visit/{visit}").left_out
        self.assertIn("submitted", left_out)
        self.waits(rita, "revoked_device", 2)
        self.assertEqual(rita.propose_again(f"visit/{visit}").left_out, [left_out])
        self.waits(rita, None, 1)
        sync(rita)
        self.assertEqual(rita.outstanding().documents, [])
        sync(other)
        seen = other.visit(visit)
        self.assertEqual([post.text for post in seen.thread], ["Counted the wrong shelf"])
        self.assertEqual(seen.status, "submitted")
        [value] = values(seen, SHELF, endcap.Subject.POSITION(planogram=1, position=1))
        self.assertEqual(value.facings, 2)

    def waits(self, client, refused, entries):
        [work] = client.outstanding().documents
        self.assertEqual((work.refused, work.entries), (refused, entries))


main()

"""A supervisor sends a visit back: the phone shows why, the answer reaches the office, and so does the
corrected work."""

import unittest

from endcap import ClientError, Subject
from world import *


class SendBack(unittest.TestCase):
    def test_work_comes_back_and_is_mended(self):
        rita, sam = phones("Rita", "Sam")
        visit = rita.start_call(today(rita)["Cedar"].id)
        first = rita.record(visit, [facings(1, 9)])
        rita.submit(visit)
        sync(rita)
        self.assertEqual(rita.send_backs(), [])

        office("review", visit=visit, comment="Nine facings on a metre? Please look again.")
        sync(rita)
        [back] = rita.send_backs()
        self.assertEqual((back.visit, back.outlet_name), (visit, "Cedar market"))
        self.assertEqual(back.review.by, "Sue")
        self.assertEqual(back.review.comment, "Nine facings on a metre? Please look again.")
        self.assertEqual((back.review.approved, back.review.standing), (False, True))
        self.assertEqual(rita.visit(visit).status, "sent_back")

        # Submitted work is corrected, never taken back.
        with self.assertRaises(ClientError.Refused) as refused:
            rita.undo(visit, first)
        self.assertEqual(refused.exception.code, "no_right")
        rita.comment(visit, "You are right, it was three. Corrected.", back.review.id)
        rita.record(visit, [facings(1, 3)])
        rita.submit(visit)
        self.assertEqual(rita.send_backs(), [])
        sync(rita)

        # Another phone of Rita's, which knows only what the server has.
        other = phone("Rob", office("code", person="Rob"))
        sync(other)
        seen = other.visit(visit)
        self.assertEqual(seen.status, "submitted")
        [post] = seen.thread
        self.assertEqual((post.by, post.text, post.answers),
                         ("Rita", "You are right, it was three. Corrected.", back.review.id))
        [value] = values(seen, SHELF, Subject.POSITION(planogram=1, position=1))
        self.assertEqual(value.facings, 3)
        row = office("visit", visit=visit)
        self.assertEqual((row["status"], row["conflicts"], row["news"] > 0), ("submitted", 0, True))

        office("review", visit=visit, comment="Thank you", approve=True)
        sync(rita)
        self.assertEqual((rita.visit(visit).status, rita.send_backs()), ("approved", []))
        self.assertEqual([r.approved for r in rita.visit(visit).reviews], [False, True])
        # What belongs to another distributor's outlet never reached Sam.
        sync(sam)
        with self.assertRaises(ClientError.NotHere):
            sam.visit(visit)


main()

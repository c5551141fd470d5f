"""Work that the server refuses stays with its author until somebody decides, whoever that is."""

import unittest

from endcap import ClientError
from world import *


class Refused(unittest.TestCase):
    def test_it_is_approved_proposed_again_or_given_up(self):
        [rita] = phones("Rita")
        visit = rita.start_call(today(rita)["Birch"].id)
        rita.record(visit, [facings(1, 2), words("Before anybody called")], [rita.add_photo(picture(9))])
        rita.submit(visit)
        # The call is cancelled, and her phone seems to have known when it sent this.
        office("calls", cancelled=True)
        office("knows", person="Rita")
        sync(rita)
        self.waits(rita, visit, "late", 3)
        with self.assertRaises(ClientError.Stuck) as stuck:
            rita.record(visit, [facings(2, 1)])
        self.assertEqual(stuck.exception.code, "late")
        # Nothing of it can be written now: the call is off.
        for tries in (rita.would_propose, rita.propose_again):
            with self.assertRaises(ClientError.Refused):
                tries(f"visit/{visit}")
        self.waits(rita, visit, "late", 3)
        # A supervisor does not want it. It is still hers.
        office("decide", approve=False)
        sync(rita)
        self.waits(rita, visit, "discarded", 3)
        # The call is on again: she proposes it anew, and it is in.
        office("calls", cancelled=False)
        sync(rita)
        self.assertEqual(rita.would_propose(f"visit/{visit}").left_out, [])
        self.waits(rita, visit, "discarded", 3)
        self.assertEqual(rita.propose_again(f"visit/{visit}").left_out, [])
        self.waits(rita, visit, None, 3)
        sync(rita)
        self.assertEqual((rita.outstanding().documents, rita.visit(visit).status), ([], "submitted"))
        self.assertEqual(office("visit", visit=visit)["status"], "submitted")
        self.assertEqual(values(rita.visit(visit), WORDS, endcap.Subject.OUTLET())[0].text, "Before anybody called")

        # Another one a supervisor lets in.
        [other, third] = [call for name, call in sorted(today(rita).items()) if name != "Birch"][:2]
        late = rita.start_call(other.id)
        rita.record(late, [words("Held back")])
        office("calls", cancelled=True)
        office("knows", person="Rita")
        sync(rita)
        self.waits(rita, late, "late", 2)
        office("decide", approve=True)
        sync(rita)
        self.assertEqual(rita.outstanding().documents, [])
        self.assertTrue(all(r.confirmed for r in rita.visit(late).recordings))
        self.assertEqual(office("visit", visit=late)["status"], "in_progress")

        # And one she gives up.
        office("calls", cancelled=False)
        sync(rita)
        gone = rita.start_call(third.id)
        office("calls", cancelled=True)
        office("knows", person="Rita")
        sync(rita)
        self.waits(rita, gone, "late", 1)
        rita.give_up(f"visit/{gone}")
        self.assertEqual(rita.outstanding().documents, [])
        with self.assertRaises(ClientError.NotHere):
            rita.visit(gone)
        with self.assertRaises(ClientError.NotHere):
            rita.give_up(f"visit/{visit}")

    def waits(self, client, visit, refused, entries):
        [work] = client.outstanding().documents
        self.assertEqual((work.document, work.refused, work.entries), (f"visit/{visit}", refused, entries))
        self.assertEqual("supervisor" in work.advice, refused is not None)


main()

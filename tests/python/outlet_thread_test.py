"""What two people say of an outlet, apart and together."""

import unittest

from endcap import ClientError
from world import *


class OutletThread(unittest.TestCase):
    def test_two_people_write_about_one_outlet(self):
        rita_code, sam_code = codes("Rita", "Sam")
        start()
        rita, sam = phone("Rita", rita_code), phone("Sam", sam_code)
        sync(rita)
        sync(sam)
        aster = today(rita)["Aster"].outlet.id
        empty = rita.outlet_thread(aster)
        self.assertEqual((empty.posts, empty.older), ([], None))

        stop()
        rita.comment_outlet(aster, "The back door is shut on Mondays")
        sam.comment_outlet(aster, "Ask for Aino")
        [post] = rita.outlet_thread(aster).posts
        self.assertEqual((post.by, post.own, post.confirmed), ("Rita", True, False))
        self.assertEqual([d.document for d in rita.outstanding().documents], [f"outlet/{aster}"])

        start()
        for client in (rita, sam, rita):
            sync(client)
        rita.comment_outlet(aster, "Aino is on leave until May")
        sync(rita)
        sync(sam)
        for client, own in ((rita, "Rita"), (sam, "Sam")):
            thread = client.outlet_thread(aster)
            self.assertIsNone(thread.older)
            self.assertEqual(thread.posts[0].text, "Aino is on leave until May")
            self.assertEqual({p.text for p in thread.posts[1:]},
                             {"The back door is shut on Mondays", "Ask for Aino"})
            self.assertTrue(all(p.confirmed and p.own == (p.by == own) for p in thread.posts))
            self.assertTrue(all(p.at_ms > 1_700_000_000_000 for p in thread.posts))
            # There is nothing older, whatever is asked for.
            self.assertEqual(client.outlet_thread(aster, 0).posts, [])
            self.assertEqual(client.outlet_thread(aster, 4_000_000_000), thread)

        with self.assertRaises(ClientError.Invalid):
            rita.comment_outlet(aster, "  ")
        with self.assertRaises(ClientError.Invalid):
            rita.outlet_thread("no outlet")
        with self.assertRaises(ClientError.Refused) as refused:
            rita.comment_outlet("99999999-9999-9999-9999-999999999999", "Nobody has heard of it")
        self.assertEqual(refused.exception.code, "unknown")


main()

"""A phone goes on with another key whenever its person wants, and loses nothing by it."""

import json
import unittest

from endcap import ClientError
from world import *


class Key(unittest.TestCase):
    def test_another_key(self):
        [rita] = phones("Rita")
        visit = rita.start_call(today(rita)["Birch"].id)
        first = self.device(rita)
        asyncio.run(rita.change_key())
        second = self.device(rita)
        self.assertNotEqual(first, second)
        # The office can compare what she shows, and it is another one with each key.
        shown = rita.enrolment().fingerprint
        self.assertRegex(shown, r"^[0-9a-f]{4}( [0-9a-f]{4}){4}$")
        self.assertEqual(office("fingerprints", person="Rita"), [shown])
        self.assertEqual(rita.outstanding().documents, [])
        rita.record(visit, [facings(1, 2)])
        sync(rita)

        # The server is away when she wants yet another one: what waits goes first, so nothing happens.
        rita.record(visit, [facings(2, 1)])
        stop()
        with self.assertRaises(ClientError.Unreachable):
            asyncio.run(rita.change_key())
        self.assertEqual(self.device(rita), second)
        start()
        asyncio.run(rita.change_key())
        self.assertNotIn(self.device(rita), (first, second))
        self.assertEqual(office("fingerprints", person="Rita"), [rita.enrolment().fingerprint])
        self.assertNotEqual(rita.enrolment().fingerprint, shown)
        rita.submit(visit)
        sync(rita)
        self.assertEqual((rita.outstanding().documents, rita.visit(visit).status), ([], "submitted"))
        self.assertEqual(office("visit", visit=visit)["status"], "submitted")
        # All of it is one person's work on one phone.
        self.assertTrue(all(r.own and r.confirmed for r in rita.visit(visit).recordings))

        # A folder with access needs no code, and wastes none.
        code = office("code", person="Sam")
        with self.assertRaises(ClientError.AlreadyEnrolled):
            enrol(rita, code, "Sam's phone")
        sync(phone("Sam", code))

    def device(self, client):
        return json.loads(client.diagnostics())["device"]


main()

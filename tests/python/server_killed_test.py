"""The server is killed while phones push: what it has acknowledged is there when it is back, and nothing
that it has not acknowledged is lost on the phones."""

import threading
import unittest

from endcap import ClientError, Phase
from world import *


class ServerKilled(unittest.TestCase):
    def setUp(self):
        self.failures = []

    def test_what_was_acknowledged_is_there(self):
        rita, sam = phones("Rita", "Sam")
        work = {
            rita: rita.start_call(today(rita)["Cedar"].id),
            sam: sam.start_call(today(sam)["Dogwood"].id),
        }
        made = {client: [] for client in work}
        confirmed = {client: set() for client in work}
        for turn in range(6):
            enough = threading.Barrier(len(work) + 1)
            threads = [
                threading.Thread(target=self.guarded_push, args=(client, visit, made[client], turn, enough))
                for client, visit in work.items()
            ]
            for thread in threads:
                thread.start()
            enough.wait()  # each phone is in the middle of a sync
            host("kill")
            for thread in threads:
                thread.join()
            self.assertEqual(self.failures, [])
            for client, visit in work.items():
                confirmed[client] |= {r.id for r in client.visit(visit).recordings if r.confirmed}
            for client, visit in work.items():
                row = host("visit", visit=visit)
                stored = set(row["changes"]) if row else set()
                self.assertLessEqual(confirmed[client], stored, "an acknowledged change is gone")
            start()
        for client, visit in work.items():
            sync(client)
            self.assertEqual(client.outstanding().documents, [])
            self.assertEqual(client.outstanding().photos, 0)
        stop()
        for client, visit in work.items():
            row = host("visit", visit=visit)
            self.assertLessEqual(set(made[client]), set(row["changes"]))
            self.assertEqual(row["photos"], row["blobs"])

    def guarded_push(self, *arguments):
        try:
            self.push(*arguments)
        except BaseException as failure:
            self.failures.append(failure)
            arguments[-1].abort()
            raise

    def push(self, client, visit, made, turn, enough):
        """Records and syncs until the server is gone."""
        waited = False
        for number in range(1_000):
            photos = [client.add_photo(picture(100 * turn + number + 1, 320, 240))] if number % 3 == 0 else []
            made.append(client.record(visit, [floor(number % 3)], photos))

            def reached():
                nonlocal waited
                if not waited:
                    waited = True
                    enough.wait()

            # The first sync of a turn goes through, the second is where the kill may come.
            first = {Phase.PUSH: reached} if number == 1 + turn % 3 else {}
            try:
                asyncio.run(client.sync(Progress(first)))
            except ClientError.Unreachable:
                if not waited:
                    raise
                return
        self.fail("the server was not killed")


main()

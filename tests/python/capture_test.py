"""Capturing works during a sync and never waits for one."""

import threading
import time
import unittest

from endcap import Cancel, ClientError, Phase
from world import *


class Capture(unittest.TestCase):
    def test_capture_goes_on_during_a_sync(self):
        rita, sam = phones("Rita", "Sam")
        visit = rita.start_call(today(rita)["Aster"].id)
        self.busy(rita, visit)
        # From inside a sync, in each of its phases, and from another thread all the while.
        ended, made, took = threading.Event(), [], []

        def capture():
            while not ended.is_set() or len(made) < 20:
                before = time.perf_counter()
                made.append(rita.record(visit, [floor(len(made) % 3), stock(self.gtin(rita), True)]))
                took.append(time.perf_counter() - before)

        def at_once(phase):
            return lambda: inside.append((phase, rita.record(visit, [words(f"During {phase.name}")])))

        inside = []
        progress = Progress({phase: at_once(phase) for phase in (Phase.PUSH, Phase.PULL, Phase.PHOTOS)})
        thread = threading.Thread(target=capture)
        thread.start()
        try:
            report = asyncio.run(rita.sync(progress))
        finally:
            ended.set()
            thread.join()
        self.assertFalse(report.cancelled)
        self.assertEqual([phase for phase, _ in inside], [Phase.PUSH, Phase.PULL, Phase.PHOTOS])
        self.assertEqual(report.photos, 6)
        self.assertEqual(progress.heard[-1], (Phase.DONE, 0))
        took.sort()
        print(
            f"{len(took)} captures beside a sync: median {took[len(took) // 2] * 1e3:.1f} ms, "
            f"worst {took[-1] * 1e3:.1f} ms",
            file=sys.stderr,
        )
        sync(rita)
        self.assertEqual(rita.outstanding().documents, [])
        seen = {r.id for r in rita.visit(visit).recordings if r.confirmed}
        self.assertLessEqual(set(made) | {recording for _, recording in inside}, seen)
        sync(sam)
        self.assertLessEqual(set(made), {r.id for r in sam.visit(visit).recordings})

        # One sync at a time; a second one says so and does no harm.
        self.busy(rita, visit, seed=50)
        refused = []

        def second():
            with self.assertRaises(ClientError.Syncing):
                sync(rita)
            refused.append(True)

        # A sync of its own in another thread: this one waits inside the first for its answer.
        def from_another_thread():
            other = threading.Thread(target=second)
            other.start()
            other.join()

        asyncio.run(rita.sync(Progress({Phase.PULL: from_another_thread})))
        self.assertEqual(refused, [True])

        # A sync that is cancelled ends early, and the next one goes on from there.
        self.busy(rita, visit, seed=90)
        cancel = Cancel()
        report = asyncio.run(rita.sync(Progress({Phase.PHOTOS: cancel.cancel}), cancel))
        self.assertTrue(report.cancelled)
        waiting = rita.outstanding().photos
        self.assertGreater(waiting, 0)
        report = sync(rita)
        self.assertEqual((report.cancelled, report.photos), (False, waiting))
        self.assertEqual(rita.outstanding().photos, 0)
        self.assertGreater(rita.free_space(), 0)
        self.assertEqual(rita.free_space(), 0)
        asyncio.run(self.news(rita, sam, visit))

    async def news(self, rita, sam, visit):
        """Rita's app hears that Sam has written something, and fetches it."""
        waiting = asyncio.create_task(rita.wait_for_news())
        made = []
        while not waiting.done():
            # The connection may not be there yet, so once more until it is.
            made.append(sam.record(sam.start_call(visit_call(sam, visit)), [floor(len(made) % 3)]))
            await sam.sync()
            await asyncio.wait({waiting}, timeout=0.2)
        await waiting
        await rita.sync()
        self.assertLessEqual(set(made[:1]), {r.id for r in rita.visit(visit).recordings})

    def busy(self, client, visit, seed=1):
        """Something that takes a sync a while."""
        for number in range(6):
            photo = client.add_photo(picture(seed + number, 800, 600), SHELF)
            client.record(visit, [facings(position, number) for position in range(1, 7)], [photo])

    def gtin(self, client):
        return client.planogram(1).positions[0].product.gtin


def visit_call(client, visit):
    [call] = [call.id for call in today(client).values() if call.visit == visit]
    return call


main()

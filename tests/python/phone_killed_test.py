"""The app is killed between "saved" and sync: what was saved is there, and syncs."""

import subprocess
import sys
import unittest

from world import *

# The app: it records until it is killed, and says what it has saved.
APP = """
import sys
from world import *
client = phone("Rita")
visit = client.start_call(sys.argv[1])
print(visit, flush=True)
number = 0
while True:
    number += 1
    photos = [client.add_photo(picture(number, 64, 48))] if number % 5 == 0 else []
    print(client.record(visit, [stock(sys.argv[2], number % 2 == 0), words(f"no. {number}")], photos), flush=True)
"""


class PhoneKilled(unittest.TestCase):
    def test_what_was_saved_is_there(self):
        [rita] = phones("Rita")
        calls = today(rita)
        gtin = rita.planogram(1).positions[0].product.gtin
        saved, visits = {}, []
        for outlet, after in [("Aster", 1), ("Birch", 7), ("Cedar", 23)]:
            del rita
            app = subprocess.Popen(
                [sys.executable, "-B", "-c", APP, calls[outlet].id, gtin], stdout=subprocess.PIPE, text=True
            )
            visit = app.stdout.readline().strip()
            said = [app.stdout.readline().strip() for _ in range(after)]
            app.kill()
            # What it has said until it was dead counts, but for a line that was cut off.
            said += [line.strip() for line in app.stdout.readlines() if line.endswith("\n")]
            app.wait()
            app.stdout.close()
            saved[visit] = said
            visits.append(visit)
            rita = phone("Rita")
            self.there(rita, saved)
        sync(rita)
        self.there(rita, saved)
        self.assertEqual(rita.outstanding().documents, [])
        self.assertEqual(rita.outstanding().photos, 0)
        for visit in visits:
            row = office("visit", visit=visit)
            self.assertLessEqual(set(saved[visit]), set(row["changes"]))
            self.assertEqual(row["photos"], row["blobs"])

    def there(self, client, saved):
        for visit, recordings in saved.items():
            self.assertLessEqual(set(recordings), {r.id for r in client.visit(visit).recordings})


main()

"""The quickstart runs as it stands in the brand of `endcap demo`: that is what the README says."""

import os
import subprocess
import sys
import unittest

from world import *


class QuickstartInTheDemo(unittest.TestCase):
    def test_it_runs(self):
        code = host("demo")
        server = start()
        photo = SCRATCH / "shelf.png"
        photo.write_bytes(picture(3))
        # Twice in one folder: the second run makes the next call.
        for _ in range(2):
            run = subprocess.run(
                [sys.executable, os.environ["ENDCAP_QUICKSTART"], server, code, SCRATCH / "demo", photo],
                capture_output=True,
                text=True,
            )
            self.assertEqual((run.returncode, run.stdout), (0, "submitted []\n"), run.stderr)


main()

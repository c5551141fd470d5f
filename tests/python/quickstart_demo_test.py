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
            self.assertEqual(run.returncode, 0, run.stderr)
            self.assertRegex(run.stdout, r"\A.*\n.*: submitted; waiting in this folder: visits 0, photos 0\n\Z")


main()

"""The quickstart of mobile-ffi/python does what it promises, in at most twenty lines."""

import ast
import os
import subprocess
import sys
import unittest

from world import *

QUICKSTART = os.environ["ENDCAP_QUICKSTART"]


class Quickstart(unittest.TestCase):
    def test_an_offline_visit_is_synced(self):
        [code] = codes("Rita")
        server = start()
        photo = SCRATCH / "shelf.png"
        photo.write_bytes(picture(3))
        folder = SCRATCH / "quickstart"
        run = subprocess.run([sys.executable, QUICKSTART, server, code, folder, photo], capture_output=True, text=True)
        self.assertEqual((run.returncode, run.stdout), (0, "submitted []\n"), run.stderr)
        # The server has it too: another phone of Rita's, which has seen nothing yet, gets it from there.
        [code] = [office("code", person="Rita")]
        other = phone("Rita", code)
        sync(other)
        visits = [call.visit for call in today(other).values() if call.status == "submitted"]
        self.assertEqual(len(visits), 1)
        row = office("visit", visit=visits[0])
        self.assertEqual((row["status"], row["photos"], row["blobs"]), ("submitted", 1, 1))

    def test_it_is_at_most_twenty_lines(self):
        with open(QUICKSTART) as file:
            tree = ast.parse(file.read())
        statements = [node for node in ast.walk(tree) if isinstance(node, ast.stmt)]
        code = [s for s in statements if not (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant))]
        imports = [s for s in code if isinstance(s, (ast.Import, ast.ImportFrom))]
        self.assertLessEqual(len(code) - len(imports), 20)


main()

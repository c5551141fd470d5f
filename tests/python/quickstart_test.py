"""The quickstart of mobile-ffi/python does what it promises, in at most twenty lines."""

import ast
import os
import subprocess
import sys
import unittest

from world import *

QUICKSTART = os.environ["ENDCAP_QUICKSTART"]
TREE = ast.parse(pathlib.Path(QUICKSTART).read_text())


def quickstart(*words):
    run = subprocess.run([sys.executable, QUICKSTART, *words], capture_output=True, text=True)
    return run.returncode, run.stdout, run.stderr


class Quickstart(unittest.TestCase):
    def test_an_offline_visit_is_synced(self):
        [code] = codes("Rita")
        server = start()
        photo = SCRATCH / "shelf.png"
        photo.write_bytes(picture(3))
        folder = SCRATCH / "quickstart"
        self.assertEqual(quickstart(server, code, folder, photo), (0, "submitted []\n", ""))
        self.assertEqual(os.stat(f"{folder}.key").st_mode & 0o777, 0o600)
        # The server has it too: another phone of Rita's, which has seen nothing yet, gets it from there.
        [code] = [office("code", person="Rita")]
        other = phone("Rita", code)
        sync(other)
        visits = [call.visit for call in today(other).values() if call.status == "submitted"]
        self.assertEqual(len(visits), 1)
        row = office("visit", visit=visits[0])
        self.assertEqual((row["status"], row["photos"], row["blobs"]), ("submitted", 1, 1))

        # Each further run makes the next call, until none is left; then it says so and writes nothing.
        for _ in today(other).values():
            code, said, wrong = quickstart(server, "", folder, photo)
            if code:
                break
            self.assertEqual((said, wrong), ("submitted []\n", ""))
        self.assertEqual((code, said), (1, ""))
        self.assertRegex(wrong, r"\AAll of today's calls are made: .*\n\Z")
        sync(other)
        self.assertEqual({call.status for call in today(other).values()}, {"submitted"})
        stop()

    def test_what_is_wrong_is_a_sentence(self):
        self.assertEqual(quickstart(), (1, "", ast.get_docstring(TREE, clean=False) + "\n"))
        folder, photo = SCRATCH / "wrong", SCRATCH / "none.png"
        code, said, wrong = quickstart("http://127.0.0.1:9", "AAAA-AAAA", folder, photo)
        self.assertEqual((code, said), (1, ""))
        self.assertRegex(wrong, r"\Athe server cannot be reached: .*\n\Z")
        [code] = codes("Rita")
        code, said, wrong = quickstart(start(), code, folder, photo)
        self.assertEqual((code, said, wrong.count("\n")), (1, "", 1), wrong)
        self.assertIn("none.png", wrong)
        stop()

    def test_it_is_at_most_twenty_lines(self):
        [visit] = [node for node in TREE.body if isinstance(node, ast.AsyncFunctionDef)]
        self.assertLessEqual(sum(isinstance(node, ast.stmt) for node in ast.walk(visit)), 20)


main()

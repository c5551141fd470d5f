"""The quickstart of mobile-ffi/python does what it promises, in at most twenty lines."""

import ast
import os
import re
import subprocess
import sys
import unittest

from world import *

QUICKSTART = pathlib.Path(os.environ["ENDCAP_QUICKSTART"])
TREE = ast.parse(QUICKSTART.read_text())
[VISIT] = [node for node in TREE.body if isinstance(node, ast.AsyncFunctionDef) and node.name == "main"]
AWAY = "the server cannot be reached: .*; the work goes on here\n"


def quickstart(*words):
    run = subprocess.run([sys.executable, QUICKSTART, *words], capture_output=True, text=True)
    return run.returncode, run.stdout, run.stderr


def photo(seed):
    file = SCRATCH / f"shelf-{seed}.png"
    file.write_bytes(picture(seed))
    return file


class Quickstart(unittest.TestCase):
    def goes_well(self, ran, whose, *, before="", after="", visits=0, photos=0):
        code, said, wrong = ran
        self.assertEqual((code, wrong), (0, ""), said)
        waiting = f"waiting in this folder: visits {visits}, photos {photos}"
        line = rf"{re.escape(whose)}\n{before}[A-Z]\w+.*: submitted; {waiting}{after}\n"
        self.assertRegex(said, rf"\A{line}\Z")

    def goes_badly(self, ran, said, wrong):
        self.assertEqual(ran[0], 1, ran)
        self.assertRegex(ran[1], rf"\A{said}\Z")
        self.assertRegex(ran[2], rf"\A{wrong}\n\Z")

    def test_an_offline_visit_is_synced(self):
        [code] = codes("Rita")
        server = start()
        whose = f"Rita, Nordgard 0, {server}"
        folder = SCRATCH / "quickstart"
        self.goes_well(quickstart(server, code, folder, photo(3)), whose)
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
            ran = quickstart(server, "", folder, photo(3))
            if ran[0]:
                break
            self.goes_well(ran, whose)
        all_made = "All of today's calls are made: .*; waiting in this folder: visits 0, photos 0"
        self.goes_badly(ran, f"{re.escape(whose)}\n", all_made)
        sync(other)
        self.assertEqual({call.status for call in today(other).values()}, {"submitted"})
        stop()

    def test_it_needs_no_server_and_goes_on_after_a_withdrawal(self):
        [code] = codes("Rita", org=1)
        server = start()
        whose = f"Rita, Nordgard 1, {server}"
        folder = f"{SCRATCH / 'offline'}/"
        self.goes_well(quickstart(server, code, folder, photo(5)), whose)
        stop()
        self.goes_well(quickstart(server, "", folder, photo(6)), whose, before=AWAY, visits=1, photos=1)
        self.assertEqual(list(pathlib.Path(folder).rglob("*.key")), [])

        # The office withdraws the phone meanwhile. What it says first is what its person is to do.
        host("revoke", person="Rita", org=1)
        [other] = codes("Sam", org=1)
        start()
        withdrawn = "this device's access was withdrawn; .*: ask for a new code\n"
        self.goes_badly(
            quickstart(server, code, folder, photo(7)),
            f"{re.escape(whose)}\n{withdrawn}",
            "the enrolment code is not valid: ask for a new one",
        )
        self.goes_badly(
            quickstart(server, other, folder, photo(7)),
            f"{re.escape(whose)}\n{withdrawn}",
            "this folder is enrolled already: .*",
        )
        # With a new code the folder goes on. What the lost key signed waits for a supervisor.
        code = office("code", person="Rita", org=1)
        ran = quickstart(server, code, folder, photo(7))
        self.goes_well(ran, whose, before=withdrawn, visits=1, after=r"; refused, visit/\S+: .+")
        stop()

    def test_what_is_wrong_is_a_sentence(self):
        self.assertEqual(quickstart(), (1, "", ast.get_docstring(TREE, clean=False) + "\n"))
        folder, absent = SCRATCH / "wrong", SCRATCH / "none.png"
        ran = quickstart("http://127.0.0.1:9", "AAAA-AAAA", folder, absent)
        self.goes_badly(ran, "", "the server cannot be reached: .*")
        rita, sue = codes("Rita", "Sue")
        server = start()
        ran = quickstart(server, rita, folder, absent)
        self.goes_badly(ran, f"Rita, Nordgard 0, {server}\n", ".*none.png.*")
        ran = quickstart(server, sue, SCRATCH / "office", photo(8))
        self.goes_badly(ran, f"Sue, Nordgard 0, {server}\n", "No calls are planned for Sue today, .*")
        self.goes_badly(quickstart(server, rita, QUICKSTART, absent), "", ".*quickstart.py is a file: choose a folder")
        # A folder whose key is gone gets no other: that would open nothing.
        key = pathlib.Path(f"{folder}.key")
        key.unlink()
        self.goes_badly(quickstart(server, rita, folder, absent), "", ".*wrong has no key: .* wrong.key beside it")
        self.assertFalse(key.exists())
        stop()

    def test_it_is_at_most_twenty_lines(self):
        self.assertLessEqual(sum(isinstance(node, ast.stmt) for node in ast.walk(VISIT)), 20)

    def test_the_readme_shows_it(self):
        [shown] = re.findall(r"```python\n(.*?)```", (QUICKSTART.parents[2] / "README.md").read_text(), re.DOTALL)
        allowed = ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        shown = [ast.unparse(node) for node in compile(shown, "README.md", "exec", allowed).body]
        heart = [ast.unparse(node) for node in VISIT.body]
        for lines in (shown, heart):
            del lines[: next(at for at, line in enumerate(lines) if line.startswith("visit = "))]
            del lines[1 + lines.index("client.submit(visit)") :]
        self.assertEqual(shown, heart)


main()

"""Work that a phone cannot bring to the server goes through a colleague's, who cannot read it."""

import gc
import os
import signal
import socket
import subprocess
import sys
import threading
import unittest

from endcap import ClientError
from world import *

MEET = os.environ["ENDCAP_MEET"]
FOLLOW = pathlib.Path(MEET).with_name("follow.py")


def example(*words):
    """Runs an example beside the suite. What runs in the background ignores Ctrl-C, and so would the example."""
    words = ["env", "--default-signal=INT", sys.executable, *words]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def audit(client, outlet, photos=[4]):
    visit = client.start_call(today(client)[outlet].id)
    photos = [client.add_photo(picture(photo)) for photo in photos]
    client.record(visit, [facings(1, 3), words("The door sticks")], photos)
    client.submit(visit)
    return visit


def meet(a, b, cut=None):
    """Two phones meet over TCP, in threads of their own; the line is cut after so many bytes each way."""
    listener = socket.create_server(("127.0.0.1", 0))
    reports = {}

    def side(name, client, line):
        meeting = client.meet()
        with line:
            line.sendall(meeting.begin())
            left = cut or sys.maxsize
            while left and not meeting.done():
                heard = line.recv(min(left, 65536))
                if not heard:
                    break
                left -= len(heard)
                line.sendall(meeting.hear(heard))
            # What the other side still says must not make the system throw away what was said to it.
            line.shutdown(socket.SHUT_WR)
            while line.recv(65536):
                pass
            reports[name] = meeting.report()

    there = threading.Thread(target=lambda: side("b", b, listener.accept()[0]))
    there.start()
    side("a", a, socket.create_connection(listener.getsockname()))
    there.join()
    listener.close()
    return reports["a"], reports["b"]


class Relay(unittest.TestCase):
    def test_work_goes_through_a_colleague(self):
        rita, sam, rob = phones("Rita", "Sam", "Rob")
        self.work_reaches_the_server(rita, sam, rob)
        self.refused_work_is_its_authors(rita, rob)
        self.strangers_do_not_meet(rita, rob)
        # Something for the example to carry: a visit and its photo.
        visit = rita.start_visit(rita.find_outlets("Aster")[0].id, 1)
        rita.record(visit, [words("Quiet today")], [rita.add_photo(picture(5))])
        del rita, sam, rob
        gc.collect()
        self.the_example_runs("Rita", "Sam")
        self.the_examples_say_what_is_wrong("Rita")

    def work_reaches_the_server(self, rita, sam, rob):
        for client in (rita, sam):
            sync(client)  # each knows the others' phones
        stop()
        visit = audit(rita, "Birch")
        [waiting] = rita.outstanding().documents
        self.assertEqual((waiting.carried, waiting.colleagues), (0, []))

        # The line is cut in the middle: nothing is half there.
        _, cut = meet(rita, rob, cut=300)
        self.assertEqual((cut.taken, cut.complete, rob.outstanding().cargo), (0, False, 0))
        gave, took = meet(rita, rob)
        # The visit and its photo.
        self.assertEqual((gave.colleague, gave.given, gave.complete), ("Rob", 2, True))
        self.assertEqual((took.colleague, took.taken, took.complete), ("Rita", 2, True))
        # Once more changes nothing.
        gave, took = meet(rita, rob)
        self.assertEqual((gave.given, took.taken, rob.outstanding().cargo), (2, 0, 2))
        [waiting] = rita.outstanding().documents
        self.assertEqual((waiting.entries, waiting.carried, waiting.colleagues), (3, 3, ["Rob"]))
        self.assertEqual((rita.outstanding().photos, rita.outstanding().photos_carried), (1, 1))
        # Rob carries it, and does not have it.
        with self.assertRaises(ClientError.NotHere):
            rob.visit(visit)
        self.assertEqual(rob.outstanding().documents, [])
        self.assertIn('"cargo": 2', rob.diagnostics())
        # Rob hands it on, and two bring it.
        self.assertEqual(meet(rob, sam)[1].taken, 2)
        start()
        self.assertEqual(sync(sam).delivered, 2)
        self.assertEqual(sync(rob).delivered, 2)
        self.assertEqual((rob.outstanding().cargo, sam.outstanding().cargo), (0, 0))
        row = office("visit", visit=visit)
        self.assertEqual((row["status"], row["authors"], len(row["changes"])), ("submitted", ["Rita"], 3))
        self.assertEqual((row["photos"], row["blobs"]), (1, 1))

        # Rita comes back: all is confirmed, once, her photo too.
        self.assertEqual(sync(rita).photos, 1)
        self.assertEqual((rita.outstanding().documents, rita.outstanding().photos), ([], 0))
        self.assertTrue(all(r.confirmed for r in rita.visit(visit).recordings))
        self.assertEqual(office("visit", visit=visit)["changes"], row["changes"])
        self.assertEqual(values(rita.visit(visit), WORDS, Subject.OUTLET())[0].text, "The door sticks")

    def refused_work_is_its_authors(self, rita, rob):
        outlet = next(name for name in sorted(today(rita)) if name not in ("Aster", "Birch"))
        visit = audit(rita, outlet, photos=[])
        self.assertEqual(meet(rita, rob)[1].taken, 1)
        # The call is cancelled, and Rita's phone seems to have known.
        office("calls", cancelled=True)
        office("knows", person="Rita")
        self.assertEqual(sync(rob).delivered, 1)
        self.assertEqual(office("refused"), [{"code": "late", "of": "Rita", "by": "Rob"}])
        self.assertEqual(rob.outstanding().documents, [])
        sync(rita)
        [waiting] = rita.outstanding().documents
        self.assertEqual((waiting.document, waiting.refused), (f"visit/{visit}", "late"))
        self.assertEqual(len(office("refused")), 1)
        office("decide", approve=True)
        sync(rita)
        self.assertEqual(rita.outstanding().documents, [])
        self.assertEqual(office("visit", visit=visit)["authors"], ["Rita"])

    def strangers_do_not_meet(self, rita, rob):
        [code] = [office("code", person="Sue")]
        sue = phone("Sue", code)
        sync(sue)
        broken = [report.broken for report in meet(sue, rita)]
        self.assertEqual(broken, ["left", "stranger"])
        self.assertEqual([r.broken for r in meet(rita, rita)], ["itself", "itself"])
        office("revoke", person="Rob")
        sync(rita)
        self.assertEqual([r.broken for r in meet(rita, rob)], ["revoked", "left"])
        with self.assertRaises(ClientError.NotEnrolled):
            phone("nobody").meet()

    def the_example_runs(self, *names):
        folders = [SCRATCH / f"phone-0-{name}" for name in names]
        for folder, name in zip(folders, names):
            pathlib.Path(f"{folder}.key").write_bytes(key(name))
        waits = example(MEET, f"{folders[0]}/")
        goes = example(MEET, folders[1], waits.stdout.readline().strip())
        said = [process.communicate() for process in (waits, goes)]
        self.assertEqual([process.returncode for process in (waits, goes)], [0, 0], said)
        self.assertEqual([out for out, _ in said], ["Sam: gave 2, took 0, complete\n", "Rita: gave 0, took 2, complete\n"])

    def the_examples_say_what_is_wrong(self, name):
        folder, absent, file = SCRATCH / f"phone-0-{name}", SCRATCH / "absent", pathlib.Path(MEET)
        for words, part in [
            ([MEET], "python3 meet.py FOLDER HOST:PORT"),
            ([FOLLOW], "python3 follow.py FOLDER"),
            ([FOLLOW, "--help"], "python3 follow.py FOLDER"),
            ([MEET, absent], "absent has no key"),
            ([FOLLOW, absent], "absent has no key"),
            ([FOLLOW, file], "meet.py is a file"),
            ([MEET, folder, "127.0.0.1:9"], "nobody waits at 127.0.0.1:9"),
            ([MEET, folder, "127.0.0.1:99999"], "nobody waits at 127.0.0.1:99999"),
            ([MEET, folder, "somewhere"], "nobody waits at somewhere"),
        ]:
            process = example(*words)
            said, wrong = process.communicate()
            self.assertEqual((process.returncode, said), (1, ""), words)
            self.assertIn(part, wrong)
            self.assertNotIn("Traceback", wrong)
        self.assertFalse(absent.exists() or pathlib.Path(f"{absent}.key").exists())
        # Ctrl-C ends it, and says nothing.
        process = example(FOLLOW, folder)
        self.assertRegex(process.stdout.readline(), r"\Asent 2, came \d+, photos 1\n\Z")
        process.send_signal(signal.SIGINT)
        self.assertEqual((process.communicate()[1], process.returncode), ("", 130))


main()

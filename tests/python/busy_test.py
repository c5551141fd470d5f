"""A server that asks for time: the app hears for how long, and the example waits that long."""

import contextlib
import http.server
import io
import pathlib
import sys
import threading
import types
import unittest

from endcap import ClientError
from world import *


sys.path.insert(0, str(pathlib.Path(os.environ["ENDCAP_QUICKSTART"]).parent))


class Busy(http.server.BaseHTTPRequestHandler):
    says = None

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        body = b'{"type": "urn:endcap:problem:busy", "title": "The server is busy: try again"}'
        self.send_response(503)
        if self.says:
            self.send_header("Retry-After", self.says)
        self.send_header("Content-Type", "application/problem+json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class AsksForTime(unittest.TestCase):
    def test_the_app_hears_for_how_long(self):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Busy)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.shutdown)
        rita = phone("Rita")
        for says, seconds in [("7", 7), (None, None), ("soon", None)]:
            Busy.says = says
            with self.assertRaises(ClientError.Busy) as busy:
                asyncio.run(rita.enrol("http://127.0.0.1:%d" % server.server_port, "AAAAA-AAAAA", "phone"))
            self.assertEqual((busy.exception.code, busy.exception.retry_after_s), ("busy", seconds))
            self.assertEqual(str(busy.exception), "the server asks for time: The server is busy: try again")

    def test_the_quickstart_goes_on_without_a_server(self):
        from quickstart import sync

        busy = ClientError.Busy(code="busy", detail="The server is busy", retry_after_s=7)
        did = []

        class Phone:
            def __init__(self, *syncs):
                self.syncs = iter(syncs)

            async def sync(self):
                did.append("sync")
                if error := next(self.syncs):
                    raise error

            async def enrol(self, server, code, label):
                did.append((server, code))

        for later in [busy, ClientError.Unreachable(detail="no route")]:
            for first in [[], [ClientError.Revoked()], [ClientError.Forgotten()]]:
                did.clear()
                said = io.StringIO()
                with contextlib.redirect_stdout(said):
                    asyncio.run(sync(Phone(*first, later), "there", "AAAAA-AAAAA"))
                self.assertEqual(did, ["sync", ("there", "AAAAA-AAAAA"), "sync"] if first else ["sync"])
                self.assertEqual(said.getvalue().splitlines(), [*map(str, first), f"{later}; the work goes on here"])
        with self.assertRaises(ClientError.Inactive):
            asyncio.run(sync(Phone(ClientError.Inactive()), "there", "AAAAA-AAAAA"))

    def test_the_example_waits_as_long_as_it_is_told(self):
        from follow import follow

        def busy(seconds):
            return ClientError.Busy(code="busy", detail="The server is busy", retry_after_s=seconds)

        away = ClientError.Unreachable(detail="no route")
        # Of one sync after the other; after one that goes well the news break off.
        syncs = iter([busy(7), busy(None), away, busy(40), away, None, busy(None), ClientError.Revoked()])

        class Phone:
            async def sync(self):
                if error := next(syncs):
                    raise error
                return endcap.SyncReport(
                    pushed=1, refused=0, pulled=2, photos=3, photos_without_room=4, refused_photos=[], mended=0, incomplete=False, unreadable=0,
                    delivered=6, undeliverable=5, left=[], copied=False, cancelled=False, log_alarm=True,
                )

            def log_status(self):
                return types.SimpleNamespace(alarm="what was kept and told")

            async def wait_for_news(self):
                raise away

        pauses = []

        async def sleep(seconds):
            pauses.append(seconds)

        said = io.StringIO()
        with self.assertRaises(ClientError.Revoked), contextlib.redirect_stdout(said):
            asyncio.run(follow(Phone(), sleep))
        self.assertEqual(pauses, [7, 2, 4, 40, 16, 1, 2])
        for part in ["photos that wait: 4", "brought 6 parcels", "5 parcels of colleagues", "look into it: what was kept and told"]:
            self.assertIn(part, said.getvalue())


main()

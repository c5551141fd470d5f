"""What else a day brings: a closed outlet, a wrong one, a new one, an unplanned visit, an unknown product, a
slip of the finger, and every call of the library that asks for something."""

import unittest

from endcap import CheckKind, ClientError, Position, Subject, Value
from world import *


class Day(unittest.TestCase):
    def test_a_day(self):
        [rita] = phones("Rita")
        calls = today(rita)
        stop()

        # Looking things up.
        self.assertEqual([o.name for o in rita.find_outlets("market nord")],
                         ["Aster market", "Birch market", "Cedar market"])
        self.assertEqual([o.name for o in rita.find_outlets("ASTER")], ["Aster market"])
        self.assertEqual(len(rita.find_outlets("", limit=2)), 2)
        self.assertEqual(rita.find_outlets("Dogwood"), [])
        aster = rita.outlet(calls["Aster"].outlet.id)
        self.assertEqual((aster.code, aster.distributor, aster.planograms), ("0001", "Distributor 1", [1]))
        template = rita.template(calls["Aster"].template)
        kinds = [type(check.kind) for check in template.checks]
        self.assertEqual(kinds, [CheckKind.PLANOGRAM, CheckKind.PRICE, CheckKind.STOCK, CheckKind.DISPLAY,
                                 CheckKind.CHOICE, CheckKind.TEXT])
        self.assertEqual(template.checks[3].kind.name, "End cap")
        self.assertTrue(rita.product(aster.must_stock[0]).own)
        self.assertIsNone(rita.product("96385074"))

        # A call that is not possible, and says where that was.
        rita.locate(Position(lon=24.94, lat=60.17, accuracy_m=8))
        with self.assertRaises(ClientError.Invalid):
            rita.not_possible(calls["Cedar"].id, "asleep")
        with self.assertRaises(ClientError.Invalid):
            rita.not_possible(calls["Cedar"].id, "other")
        closed = rita.not_possible(calls["Cedar"].id, "closed", "Shutters down", [rita.add_photo(picture(2))])
        self.assertEqual(rita.visit(closed).status, "not_possible")
        self.assertEqual(today(rita)["Cedar"].status, "not_possible")

        # Taken back: one screen, then all of it because it was the wrong outlet.
        visit = rita.start_call(calls["Aster"].id)
        self.assertEqual(rita.start_call(calls["Aster"].id), visit)
        slip = rita.record(visit, [facings(1, 99)])
        kept = rita.record(visit, [facings(2, 2)])
        rita.undo(visit, slip)
        seen = rita.visit(visit)
        self.assertEqual({r.id: r.withdrawn for r in seen.recordings if r.act == "observe"},
                         {slip: True, kept: False})
        self.assertEqual([held.subject.position for held in seen.values], [2])
        rita.abandon(visit)
        self.assertEqual(rita.visit(visit).status, "abandoned")
        # It can be begun again.
        self.assertEqual(rita.start_call(calls["Aster"].id), visit)
        rita.record(visit, [facings(1, 1)])
        self.assertEqual(rita.visit(visit).status, "in_progress")

        # An unplanned visit, with what no catalogue has.
        unplanned = rita.start_visit(calls["Birch"].outlet.id, 1)
        self.assertNotEqual(unplanned, calls["Birch"].visit)
        there = {unplanned, *(rita.start_visit(calls["Birch"].outlet.id, 1) for _ in range(3))}
        at_birch = rita.outlet_visits(calls["Birch"].outlet.id)
        self.assertEqual({seen.id for seen in at_birch}, there)
        begun = [seen.begun_ms for seen in at_birch]
        self.assertEqual(begun, sorted(begun, reverse=True), "the newest first")
        self.assertEqual(at_birch[0], rita.visit(at_birch[0].id))
        self.assertEqual([seen.id for seen in rita.outlet_visits(aster.id)], [visit])
        jar = endcap.Observation(
            check=STOCK, subject=Subject.UNLISTED(label="A purple jar"), value=Value.STOCK(on_shelf=True, units=3)
        )
        rita.record(unplanned, [jar, price("96385074", 199)])
        rita.attach_photo(unplanned, picture(4), SHELF)
        # The same words about the same thing replace what was said: the subject is passed on as it was shown.
        [held] = [h for h in rita.visit(unplanned).values if h.subject.is_UNLISTED()]
        self.assertEqual(held.subject.label, "A purple jar")
        rita.record(unplanned, [endcap.Observation(check=STOCK, subject=held.subject, value=Value.STOCK(on_shelf=False))])
        [value] = values(rita.visit(unplanned), STOCK, held.subject)
        self.assertEqual((value.on_shelf, value.units), (False, None))
        rita.submit(unplanned)
        with self.assertRaises(ClientError.Nothing) as nothing:
            rita.submit(unplanned)
        self.assertEqual(str(nothing.exception), "there is nothing to submit")

        # Someone else's corner that nobody has listed yet.
        rita.report_outlet("Fennel kiosk", "Harbour 3", aster.id, photos=[rita.add_photo(picture(6))])

        # Bad input is named, and nothing of it is stored.
        unasked = endcap.Observation(check=7, subject=Subject.OUTLET(), value=Value.YES_NO(yes=True))
        before = rita.outstanding()
        for wrong, error in [
            (lambda: rita.record(visit, []), ClientError.Invalid),
            (lambda: rita.record(visit, [facings(1, 1), facings(1, 2)]), ClientError.Invalid),
            (lambda: rita.record(visit, [price("123", 1)]), ClientError.Invalid),
            (lambda: rita.record(visit, [facings(1, 1), unasked]), ClientError.Invalid),
            (lambda: rita.record("../../etc/passwd", [floor(1)]), ClientError.Invalid),
            (lambda: rita.add_photo(b"GIF89a"), ClientError.Invalid),
            (lambda: rita.locate(Position(lon=200.0, lat=0.0)), ClientError.Invalid),
            (lambda: rita.visit(calls["Birch"].visit), ClientError.NotHere),
            (lambda: rita.start_call(visit), ClientError.NotHere),
            (lambda: rita.record(visit, [floor(1)], [endcap.Photo(hash="0" * 64)]), ClientError.NotHere),
        ]:
            with self.assertRaises(error):
                wrong()
        self.assertEqual(rita.outstanding(), before)
        with self.assertRaises(ClientError.Unreachable):
            sync(rita)
        self.assertEqual(rita.outstanding(), before)

        start()
        report = sync(rita)
        self.assertEqual((report.refused, report.photos, report.cancelled), (0, 3, False))
        self.assertEqual(rita.outstanding().documents, [])
        stop()
        rows = {name: host("visit", visit=v) for name, v in
                [("closed", closed), ("begun", visit), ("unplanned", unplanned)]}
        self.assertEqual({name: row["status"] for name, row in rows.items()},
                         {"closed": "not_possible", "begun": "in_progress", "unplanned": "submitted"})
        self.assertEqual({name: (row["photos"], row["blobs"]) for name, row in rows.items()},
                         {"closed": (1, 1), "begun": (0, 0), "unplanned": (1, 1)})
        self.assertEqual(host("report"), {"name": "Fennel kiosk", "address": "Harbour 3"})


main()

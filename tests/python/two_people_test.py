"""The two-person conflict: a rep and a distributor's employee audit the same planned call, both without a
network and with different catalogue versions; a third person settles what they disagree on."""

import unittest

from endcap import Subject, Value
from world import *


class TwoPeople(unittest.TestCase):
    def test_nobody_loses_work_and_a_third_settles_it(self):
        rita_code, sam_code, rob_code = codes("Rita", "Sam", "Rob")
        start()
        rita = phone("Rita", rita_code)
        sync(rita)
        office("season", version=2)
        sam = phone("Sam", sam_code)
        sync(sam)
        self.assertEqual((rita.planogram(1).version, rita.template(1).version), (1, 1))
        self.assertEqual((sam.planogram(1).version, sam.template(1).version), (2, 2))

        # Both are offline: the server does not even run.
        stop()
        call = today(rita)["Aster"]
        self.assertEqual(today(sam)["Aster"].id, call.id)
        self.assertEqual((call.colleagues, today(sam)["Aster"].colleagues), (["Sam"], ["Rita"]))
        visit = rita.start_call(call.id)
        self.assertEqual(sam.start_call(call.id), visit)

        shelf = rita.planogram(1).positions
        a, b, c = (position.product.gtin for position in shelf[:3])
        # Position 1, and what product A costs, they see differently; the rest only one of them looks at.
        rita.record(visit, [facings(1, 3), facings(2, 2)], [rita.add_photo(picture(5), SHELF)])
        rita.record(visit, [price(a, 249), price(b, 199)])
        sam.record(visit, [facings(1, 1), facings(3, 4)])
        sam.record(visit, [price(a, 279), stock(c, True), floor(1), words("The chiller hums")])
        rita.submit(visit)
        sam.submit(visit)
        self.assertEqual((rita.conflicts(), sam.conflicts()), ([], []))

        start()
        for _ in range(2):
            for client in (rita, sam):
                sync(client)
        disputed = {
            (SHELF, 1): {3, 1},
            (PRICE, a): {249, 279},
        }
        for client in (rita, sam):
            seen = client.visit(visit)
            self.assertEqual(seen.status, "submitted")
            self.assertEqual(sorted(seen.people), ["Rita", "Sam"])
            self.assertFalse(seen.unsubmitted)
            self.assertEqual(self.said(client.conflicts()), disputed)
            self.assertTrue(all(conflict.visit == visit for conflict in client.conflicts()))
            # Everything that only one of them has recorded is there, under the name of who did.
            self.assertEqual(values(seen, SHELF, Subject.POSITION(planogram=1, position=2))[0].facings, 2)
            self.assertEqual(values(seen, SHELF, Subject.POSITION(planogram=1, position=3))[0].facings, 4)
            self.assertEqual(values(seen, PRICE, Subject.PRODUCT(gtin=b))[0].minor, 199)
            self.assertEqual(values(seen, STOCK, Subject.PRODUCT(gtin=c)), [Value.STOCK(on_shelf=True)])
            self.assertEqual(values(seen, FLOOR, Subject.OUTLET()), [Value.CHOICE(option=1)])
            self.assertEqual(values(seen, WORDS, Subject.OUTLET()), [Value.TEXT(text="The chiller hums")])
            observed = [r for r in seen.recordings if r.act == "observe"]
            self.assertEqual(sorted((r.by, r.observations) for r in observed),
                             [("Rita", 2), ("Rita", 2), ("Sam", 2), ("Sam", 4)])
            self.assertTrue(all(r.submitted and r.confirmed and not r.withdrawn for r in observed))
            self.assertEqual(sum(len(r.photos) for r in observed), 1)
            self.assertEqual(client.outstanding().documents, [])
        self.assertEqual(rita.visit(visit).values, sorted_as(rita, sam, visit))
        row = office("visit", visit=visit)
        self.assertEqual(
            {name: row[name] for name in ("status", "conflicts", "people", "photos", "blobs")},
            {"status": "submitted", "conflicts": 2, "people": 2, "photos": 1, "blobs": 1},
        )

        # A third person settles both: one for Rita, one for neither.
        rob = phone("Rob", rob_code)
        sync(rob)
        self.assertEqual(self.said(rob.conflicts()), disputed)
        by_check = {conflict.held.check: conflict.held for conflict in rob.conflicts()}
        rob.resolve(visit, SHELF, by_check[SHELF].subject, facings(1, 3).value)
        rob.resolve(visit, PRICE, by_check[PRICE].subject, Value.PRICE(minor=259, currency="EUR"))
        self.assertEqual(rob.conflicts(), [])
        for client in (rob, rita, sam):
            sync(client)
        for client in (rob, rita, sam):
            seen = client.visit(visit)
            self.assertEqual(client.conflicts(), [])
            [shelf_value] = values(seen, SHELF, Subject.POSITION(planogram=1, position=1))
            [price_value] = values(seen, PRICE, Subject.PRODUCT(gtin=a))
            self.assertEqual((shelf_value.facings, price_value.minor), (3, 259))
            # What was settled is still in the history.
            self.assertEqual(len([r for r in seen.recordings if r.act == "observe"]), 6)
        row = office("visit", visit=visit)
        self.assertEqual((row["status"], row["conflicts"]), ("submitted", 0))

    def said(self, conflicts):
        """{(check, position or product): the values}"""
        found = {}
        for conflict in conflicts:
            self.assertTrue(conflict.held.conflict)
            subject = conflict.held.subject
            what = subject.position if subject.is_POSITION() else subject.gtin
            numbers = {s.value.facings if s.value.is_SHELF() else s.value.minor for s in conflict.held.said}
            found[(conflict.held.check, what)] = numbers
        return found


def sorted_as(one, other, visit):
    """What the other phone shows, with `own` as the first one would."""
    held = other.visit(visit).values
    name = one.enrolment().user_name
    for entry in held:
        for said in entry.said:
            said.own = said.by == name
    return held


main()

"""A distributor's person contests a value on the phone, with a photo; the supervisor asks, and finds; each hears the
other by their own phone, and the office counts it."""

import unittest

from endcap import ClientError, ContestStep, Subject, Value
from world import *


class Contest(unittest.TestCase):
    def test_a_value_is_contested_and_put_right(self):
        rita, sam, sue = phones("Rita", "Sam", "Sue")
        visit = rita.start_call(today(rita)["Aster"].id)
        rita.record(visit, [facings(1, 0), facings(2, 3)])
        rita.submit(visit)
        sync(rita), sync(sam)

        first = Subject.POSITION(planogram=1, position=1)
        with self.assertRaises(ClientError.Refused) as refused:
            rita.contest(visit, "It is mine to say", SHELF, first)
        self.assertEqual(refused.exception.code, "no_right")
        with self.assertRaises(ClientError.Invalid):
            sam.contest(visit, "Half of what is needed", SHELF)
        with self.assertRaises(ClientError.Invalid):
            sam.contest(visit, "Words", SHELF, first, claim=Value.TEXT(text="four"))
        with self.assertRaises(ClientError.NotHere):
            sam.contest(visit, "Nobody said anything", SHELF, Subject.POSITION(planogram=1, position=6))

        shelf = sam.add_photo(picture(1), SHELF)
        claim = Value.SHELF(facings=4, in_stock=False, found=Found.AS_PLANNED())
        contest = sam.contest(visit, "There were four, see the photo", SHELF, first, claim=claim, photos=[shelf])
        whole = sam.contest(visit, "Nobody was there that day")
        sync(sam)
        row = office("visit", visit=visit)
        self.assertEqual((row["contest"], row["photos"], row["blobs"]), ("open", 1, 1))
        sync(sue), sync(rita)

        seen = {each.id: each for each in sue.visit(visit).contests}
        self.assertEqual(set(seen), {contest, whole})
        one = seen[contest]
        self.assertEqual((one.by, one.own, one.text), ("Sam", False, "There were four, see the photo"))
        self.assertEqual((one.check, one.claim, one.photos), (SHELF, claim, [shelf.hash]))
        self.assertEqual((one.standing, one.holds, one.confirmed), ("open", True, True))
        self.assertEqual((seen[whole].check, seen[whole].subject), (None, None))
        self.assertEqual(rita.visit(visit).thread, [], "a contest is no part of the conversation")

        for who, step in [(sam, ContestStep.UPHOLD), (rita, ContestStep.SAY)]:
            with self.assertRaises(ClientError.Refused) as refused:
                who.answer_contest(visit, contest, step, "So it is")
            self.assertEqual(refused.exception.code, "no_right")
        with self.assertRaises(ClientError.NotHere):
            sue.answer_contest(visit, visit_recording(sue, visit), ContestStep.ASK, "What?")

        sue.answer_contest(visit, contest, ContestStep.ASK, "Before or after noon?")
        sync(sue), sync(sam)
        self.assertEqual(standing(sam, visit, contest), "asked")
        sam.answer_contest(visit, contest, ContestStep.SAY, "At ten")
        sync(sam), sync(sue)
        self.assertEqual(standing(sue, visit, contest), "open")
        sue.answer_contest(visit, whole, ContestStep.UPHOLD, "Rita's phone was there")
        sue.answer_contest(visit, contest, ContestStep.ACCEPT, "I see four")
        sync(sue), sync(sam), sync(rita)

        for phone_ in (rita, sam, sue):
            found = {each.id: each for each in phone_.visit(visit).contests}
            self.assertEqual((found[contest].standing, found[contest].holds), ("accepted", False))
            self.assertEqual([w.step for w in found[contest].words],
                             [ContestStep.ASK, ContestStep.SAY, ContestStep.ACCEPT])
            self.assertEqual([w.by for w in found[contest].words], ["Sue", "Sam", "Sue"])
            self.assertEqual(found[whole].standing, "upheld")
            [value] = values(phone_.visit(visit), SHELF, first)
            self.assertEqual(value.facings, 4)
        self.assertEqual(office("visit", visit=visit)["contest"], None)

        # Either side may open it again.
        sam.answer_contest(visit, whole, ContestStep.SAY, "Not on that day")
        sync(sam)
        self.assertEqual(office("visit", visit=visit)["contest"], "open")


def standing(client, visit, contest):
    [found] = [each for each in client.visit(visit).contests if each.id == contest]
    return found.standing


def visit_recording(client, visit):
    return client.visit(visit).recordings[0].id


main()

"""A distributor's person contests a value on the phone, with a photo; the supervisor asks, and finds; each hears the
other by their own phone, and the office counts it."""

import time
import unittest

from endcap import ClientError, ContestStep, Subject, Value
from world import *


class Contest(unittest.TestCase):
    def test_a_value_is_contested_and_put_right(self):
        rita, sam, sue = phones("Rita", "Sam", "Sue")
        call = today(rita)["Aster"]
        aster, begun_ms = call.outlet, now_ms() - 60_000
        visit = rita.start_call(call.id)
        rita.record(visit, [facings(1, 0), facings(2, 3)])
        rita.submit(visit)
        sync(rita), sync(sam)
        self.assertEqual(sam.contests(), [])

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
        # What a contest shows is no photo of the visit.
        self.assertEqual((row["contest"], row["photos"], row["blobs"]), ("open", 0, 1))
        sync(sue), sync(rita)

        # Each finds it without being told which visit it is, and what they may do about it.
        value, all_of_it = about_a_value(sue), about_the_whole(sue)
        self.assertEqual({each.contest.id for each in sue.contests()}, {contest, whole})
        self.assertEqual((value.visit, value.outlet, value.outlet_name), (visit, aster.id, aster.name))
        self.assertEqual((all_of_it.contest.check, all_of_it.contest.subject, all_of_it.contest.against), (None, None, []))
        one = value.contest
        self.assertEqual((one.id, one.by, one.own, one.text), (contest, "Sam", False, "There were four, see the photo"))
        self.assertEqual((one.check, one.subject, one.claim, one.photos), (SHELF, first, claim, [shelf.hash]))
        [zero] = one.against
        self.assertEqual((zero.by, zero.own, zero.value.facings), ("Rita", False, 0))
        self.assertEqual((one.standing, one.holds, one.confirmed, one.words), ("open", True, True, []))
        self.assertTrue(begun_ms <= one.at_ms <= now_ms() + 60_000)
        self.assertEqual(about_a_value(rita).contest.against[0].own, True)
        self.assertTrue(about_a_value(sam).contest.own)
        everything = [ContestStep.SAY, ContestStep.ASK, ContestStep.UPHOLD, ContestStep.ACCEPT, ContestStep.CLOSE]
        for who, may, waits in [(sue, everything, True), (rita, [], False),
                                (sam, [ContestStep.SAY, ContestStep.CLOSE], False)]:
            self.assertEqual([(each.may, each.waits_for_own) for each in who.contests()], [(may, waits)] * 2)
        self.assertEqual(rita.visit(visit).thread, [], "a contest is no part of the conversation")

        for who, step in [(sam, ContestStep.UPHOLD), (rita, ContestStep.SAY)]:
            with self.assertRaises(ClientError.Refused) as refused:
                answer(who, about_a_value(who), step, "So it is")
            self.assertEqual(refused.exception.code, "no_right")
        with self.assertRaises(ClientError.NotHere):
            state = about_a_value(sue).contest.state
            sue.answer_contest(visit, visit_recording(sue, visit), state, ContestStep.ASK, "What?")

        before = about_a_value(sam)
        answer(sue, about_a_value(sue), ContestStep.ASK, "Before or after noon?")
        sync(sue), sync(sam)
        asked = about_a_value(sam)
        with self.assertRaises(ClientError.Answered):
            answer(sam, before, ContestStep.CLOSE, "Never mind")
        self.assertEqual((asked.contest.standing, asked.waits_for_own), ("asked", True))
        self.assertEqual(about_a_value(sue).waits_for_own, False)
        shown = sam.add_photo(picture(2), SHELF)
        answer(sam, asked, ContestStep.SAY, "At ten", photos=[shown])
        sync(sam), sync(sue)
        row = office("visit", visit=visit)
        self.assertEqual((row["photos"], row["blobs"]), (0, 2))
        again = about_a_value(sue)
        self.assertEqual((again.contest.standing, again.waits_for_own), ("open", True))
        answer(sue, about_the_whole(sue), ContestStep.UPHOLD, "Rita's phone was there")
        self.assertEqual([each.contest.id for each in sue.contests()], [contest, whole], "what waits comes first")
        answer(sue, again, ContestStep.ACCEPT, "I see four")
        sync(sue), sync(sam), sync(rita)

        for phone_ in (rita, sam, sue):
            found = about_a_value(phone_)
            self.assertEqual((found.contest.standing, found.contest.holds), ("accepted", False))
            self.assertEqual(found.contest, {c.id: c for c in phone_.visit(visit).contests}[contest])
            self.assertEqual([(w.by, w.step, w.text) for w in found.contest.words],
                             [("Sue", ContestStep.ASK, "Before or after noon?"), ("Sam", ContestStep.SAY, "At ten"),
                              ("Sue", ContestStep.ACCEPT, "I see four")])
            self.assertEqual([w.photos for w in found.contest.words], [[], [shown.hash], []])
            for word in found.contest.words:
                self.assertTrue(begun_ms <= word.at_ms <= now_ms() + 60_000)
            self.assertEqual(found.contest.against[0].value.facings, 0, "what was said then")
            self.assertEqual(about_the_whole(phone_).contest.standing, "upheld")
            self.assertFalse(any(each.waits_for_own for each in phone_.contests()))
            [value] = values(phone_.visit(visit), SHELF, first)
            self.assertEqual(value.facings, 4)
        self.assertEqual(office("visit", visit=visit)["contest"], None)

        # What is over can be opened again by either side, and closed by none.
        everything = [ContestStep.SAY, ContestStep.ASK, ContestStep.UPHOLD, ContestStep.ACCEPT]
        for who, may in [(sue, everything), (sam, [ContestStep.SAY])]:
            self.assertEqual([each.may for each in who.contests()], [may] * 2)
            for found in who.contests():
                with self.assertRaises(ClientError.Invalid):
                    answer(who, found, ContestStep.CLOSE, "Never mind")
        answer(sam, about_the_whole(sam), ContestStep.SAY, "Not on that day")
        sync(sam)
        self.assertEqual(office("visit", visit=visit)["contest"], "open")


def now_ms():
    return time.time() * 1000


def about_a_value(client):
    [found] = [each for each in client.contests() if each.contest.subject]
    return found


def about_the_whole(client):
    [found] = [each for each in client.contests() if not each.contest.subject]
    return found


def answer(client, found, step, text, photos=()):
    client.answer_contest(found.visit, found.contest.id, found.contest.state, step, text, list(photos))


def visit_recording(client, visit):
    return client.visit(visit).recordings[0].id


main()

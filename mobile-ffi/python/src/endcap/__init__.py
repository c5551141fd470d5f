"""Endcap on a device: audit outlets without a network, sync when there is one.

    client = endcap.Client.open(folder, key)        # 32 random bytes, kept in the platform's key store
    await client.enrol(server, code, "Mary's phone") # once, with a code from the console
    await client.sync()
    visit = client.start_call(client.calls()[0].id)
    client.record(visit, [endcap.Observation(...)])
    client.submit(visit)
    await client.sync()

Everything but the coroutines `Client.enrol`, `Client.sync` and `Client.wait_for_news` works on the device
alone, blocks for milliseconds, and has reached the disk when it returns. Those three need a network;
capturing goes on during a sync. `Client.meet` hands work to a colleague's device without a network; `meet.py` in the
source shows how. One folder is for one person at one organisation. What goes wrong is a `ClientError`:
each has a class of its own, such as `ClientError.Revoked`, and says so in words as `str(error)`.

`quickstart.py` in the source shows a whole visit; mobile-ffi/README.md explains the rest.
"""

import atexit
import threading

from . import endcap_mobile
from .endcap_mobile import (
    Call,
    Cancel,
    Check,
    CheckKind,
    Client,
    ClientError,
    Conflict,
    Contest,
    Contested,
    ContestStep,
    ContestWord,
    Declined,
    Enrolment,
    Found,
    Held,
    InternalError,
    LogAlarm,
    LogRestored,
    LogStatus,
    LogWrong,
    Meeting,
    MeetingReport,
    Observation,
    Outlet,
    Outstanding,
    Phase,
    Photo,
    PhotoSize,
    PlannedPosition,
    Planogram,
    Position,
    Post,
    Product,
    Progress,
    Proposal,
    Recording,
    Review,
    Said,
    SendBack,
    Shelf,
    Subject,
    SyncReport,
    Template,
    Unconfirmed,
    Value,
    Visit,
)

ClientError.__str__ = lambda error: error.sentence()

# At its end Python unwinds every thread that asks for the interpreter, and aborts if Rust is on its stack. So
# the end waits for a thread that is just handing over a coroutine's result, and lets no other begin.
_handover = threading.Lock()
_hand_over = endcap_mobile._uniffi_continuation_callback


@endcap_mobile._UNIFFI_RUST_FUTURE_CONTINUATION_CALLBACK
def _one_at_a_time(future, code):
    with _handover:
        _hand_over(future, code)


endcap_mobile._uniffi_continuation_callback = _one_at_a_time
atexit.register(_handover.acquire)

__all__ = [
    "Call",
    "Cancel",
    "Check",
    "CheckKind",
    "Client",
    "ClientError",
    "Conflict",
    "Contest",
    "Contested",
    "ContestStep",
    "ContestWord",
    "Declined",
    "Enrolment",
    "Found",
    "Held",
    "InternalError",
    "LogAlarm",
    "LogRestored",
    "LogStatus",
    "LogWrong",
    "Meeting",
    "MeetingReport",
    "Observation",
    "Outlet",
    "Outstanding",
    "Phase",
    "Photo",
    "PhotoSize",
    "PlannedPosition",
    "Planogram",
    "Position",
    "Post",
    "Product",
    "Progress",
    "Proposal",
    "Recording",
    "Review",
    "Said",
    "SendBack",
    "Shelf",
    "Subject",
    "SyncReport",
    "Template",
    "Unconfirmed",
    "Value",
    "Visit",
]

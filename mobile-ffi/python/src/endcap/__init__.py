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
capturing goes on during a sync. One folder is for one person at one organisation. What goes wrong is a `ClientError`:
each has a class of its own, such as `ClientError.Revoked`, and says so in words as `str(error)`.

`quickstart.py` in the source shows a whole visit; mobile-ffi/README.md explains the rest.
"""

from .endcap_mobile import (
    Call,
    Cancel,
    Check,
    CheckKind,
    Client,
    ClientError,
    Conflict,
    Enrolment,
    Found,
    Held,
    InternalError,
    Observation,
    Outlet,
    Outstanding,
    Phase,
    Photo,
    PlannedPosition,
    Planogram,
    Position,
    Post,
    Product,
    Progress,
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

__all__ = [
    "Call",
    "Cancel",
    "Check",
    "CheckKind",
    "Client",
    "ClientError",
    "Conflict",
    "Enrolment",
    "Found",
    "Held",
    "InternalError",
    "Observation",
    "Outlet",
    "Outstanding",
    "Phase",
    "Photo",
    "PlannedPosition",
    "Planogram",
    "Position",
    "Post",
    "Product",
    "Progress",
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

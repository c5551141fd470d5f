"""A visit in twenty lines: audited without a network, synced when there is one.

    python3 quickstart.py SERVER CODE FOLDER PHOTO

SERVER is the server's address, CODE a one-time code that the console shows under "People" for a rep, FOLDER a
folder for this person's work, made if it is absent, PHOTO a JPEG, PNG or WebP file. Each run makes one of today's
calls. Once a run has synced, the next needs no server: what it has made waits in FOLDER. On a phone the calls are the
same in Kotlin and Swift: mobile-ffi/README.md shows them side by side.
"""

import pathlib

from endcap import CheckKind, ClientError, Found, Observation, Subject, Value
from folder import open_folder, run


async def main(server, code, folder, photo):
    # One folder is one person's work at one organisation, encrypted with a key of 32 random bytes.
    client = open_folder(folder, make=True)

    # With a network, once: who am I? Then fetch what I may see: outlets, planned calls, planograms, prices.
    who = client.enrolment() or await client.enrol(server, code, label="Quickstart")
    print(f"{who.user_name}, {who.organisation_name}, {who.server}", flush=True)
    said = await sync(client, server, code)

    # From here on no network is needed. Each call has reached the disk when it returns.
    image = client.add_photo(pathlib.Path(photo).read_bytes())
    call = next_call(client, who)
    visit = client.start_call(call.id)

    # The template says what to look at. Here: the first place on the first shelf, and what it costs.
    checks = {type(check.kind): check.id for check in client.template(call.template).checks}
    shelf = client.planogram(call.outlet.planograms[0])
    place = shelf.positions[0]
    subject = Subject.POSITION(planogram=shelf.number, position=place.number)
    seen = Value.SHELF(facings=place.facings, in_stock=True, found=Found.AS_PLANNED())
    facings = Observation(check=checks[CheckKind.PLANOGRAM], subject=subject, value=seen)
    product = Subject.PRODUCT(gtin=place.product.gtin)
    price = Observation(check=checks[CheckKind.PRICE], subject=product, value=Value.PRICE(minor=249, currency="EUR"))

    # One screen's worth is one recording: its observations and photos are saved together or not at all.
    client.record(visit, [facings, price], [image])
    client.submit(visit)

    # The network may be back: hand everything over, the photo last.
    await sync(client, server, code, said)
    print(f"{call.outlet.name}: {client.visit(visit).status}; {waiting(client)}")


async def sync(client, server, code, said=None):
    """Says why it cannot be now, unless that was `said` already, and returns it."""
    try:
        await client.sync()
    except (ClientError.Unreachable, ClientError.Busy) as later:
        if str(later) != said:
            print(f"{later}; the work goes on here")
        return str(later)
    except (ClientError.Revoked, ClientError.Forgotten) as withdrawn:
        # Nothing of this person's is lost: with a new code the same folder goes on.
        print(withdrawn, flush=True)
        await client.enrol(server, code, label="Quickstart")
        return await sync(client, server, code)


def next_call(client, who):
    calls = client.calls()
    if not calls:
        raise SystemExit(
            f"No calls are planned for {who.user_name} today, as far as this folder knows: "
            "take a field rep's code and another folder."
        )
    for call in calls:
        if call.status is None:
            return call
    raise SystemExit(
        "All of today's calls are made: come back tomorrow, or take the code of another rep and another folder; "
        + waiting(client)
    )


def waiting(client):
    """What only this folder still holds, and why the server has refused some of it."""
    outstanding = client.outstanding()
    refused = [f"; refused, {work.document}: {work.advice}" for work in outstanding.documents if work.refused]
    return f"waiting in this folder: visits {len(outstanding.documents)}, photos {outstanding.photos}" + "".join(refused)


if __name__ == "__main__":
    run(main, __doc__, 4)

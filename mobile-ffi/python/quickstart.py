"""A visit in twenty lines: audited without a network, synced when there is one.

    python3 quickstart.py SERVER CODE FOLDER PHOTO

SERVER is the server's address, CODE a one-time code that the console shows under "People" for a rep, FOLDER a
folder for this person's work, made if it is absent, PHOTO a JPEG, PNG or WebP file. Each run makes one of today's
calls. On a phone the calls are the same in Kotlin and Swift: mobile-ffi/README.md shows them side by side.
"""

import asyncio
import pathlib
import secrets
import sys

from endcap import CheckKind, Client, ClientError, Found, Observation, Subject, Value


async def main(server, code, folder, photo):
    # One folder is one person's work at one organisation, encrypted with a key of 32 random bytes. An app
    # keeps the key in the Keystore or Keychain; without it the folder can never be read again.
    key = pathlib.Path(folder + ".key")
    key.exists() or key.touch(0o600) or key.write_bytes(secrets.token_bytes(32))
    client = Client.open(folder, key.read_bytes())

    # With a network, once: who am I? Then fetch what I may see: outlets, planned calls, planograms, prices.
    client.enrolment() or await client.enrol(server, code, label="Quickstart")
    await client.sync()

    # From here on no network is needed. Each call has reached the disk when it returns.
    image = client.add_photo(pathlib.Path(photo).read_bytes())
    call = next((call for call in client.calls() if call.status is None), None) or sys.exit(
        "All of today's calls are made: come back tomorrow, or take the code of another rep and another folder."
    )
    visit = client.start_call(call.id)

    # The template says what to look at. Here: the first place on the first shelf, and what it costs.
    checks = {type(check.kind): check.id for check in client.template(call.template).checks}
    shelf = client.planogram(call.outlet.planograms[0])
    place = shelf.positions[0]
    subject = Subject.POSITION(planogram=shelf.number, position=place.number)
    seen = Value.SHELF(facings=place.facings, in_stock=True, found=Found.AS_PLANNED())
    facings = Observation(check=checks[CheckKind.PLANOGRAM], subject=subject, value=seen)
    price = Observation(
        check=checks[CheckKind.PRICE],
        subject=Subject.PRODUCT(gtin=place.product.gtin),
        value=Value.PRICE(minor=249, currency="EUR"),
    )

    # One screen's worth is one recording: its observations and photos are saved together or not at all.
    client.record(visit, [facings, price], [image])
    client.submit(visit)

    # The network is back: hand everything over, the photo last. `outstanding` says what is still only here.
    await client.sync()
    print(client.visit(visit).status, client.outstanding().documents)


if len(sys.argv) != 5:
    sys.exit(__doc__)
try:
    asyncio.run(main(*sys.argv[1:]))
except (ClientError, OSError) as error:
    sys.exit(str(error))

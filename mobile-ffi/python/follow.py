"""Keeps a folder in step with its server until it is interrupted: syncs when there is news, and pauses when it should.

    python3 follow.py FOLDER

FOLDER is a folder that quickstart.py has made, with its key beside it.
"""

import asyncio

from endcap import ClientError
from folder import open_folder, run

LONGEST_S = 600


async def main(folder):
    await follow(open_folder(folder))


async def follow(client, sleep=asyncio.sleep):
    pause_s = 1
    while True:
        try:
            report = await client.sync()
            print(f"sent {report.pushed}, came {report.pulled}, photos {report.photos}", flush=True)
            if report.photos_without_room:
                print(f"photos that wait: {report.photos_without_room}; the organisation's room for them is used up")
            for outlet in report.left:
                print(f"{outlet.name} is not yours any more: {outlet.why.name.lower()}")
            if report.copied:
                print("another phone goes on with a copy of this folder, or it was put back from a backup")
            if report.log_alarm:
                print(f"THE SERVER'S LOG IS NOT WHAT IT WAS, somebody has to look into it: {client.log_status().alarm}")
            if report.delivered:
                print(f"brought {parcels(report.delivered)} of colleagues", flush=True)
            if report.undeliverable:
                print(f"{parcels(report.undeliverable)} of colleagues cannot go in: their own phones have to sync")
            if report.incomplete:
                print("not all of what can be seen is here yet", flush=True)
                await sleep(pause_s)
                pause_s = min(2 * pause_s, LONGEST_S)
                continue
            pause_s = 1
            await client.wait_for_news()
        except (ClientError.Busy, ClientError.Unreachable) as later:
            print(later, flush=True)
            # As long as the server asks for; where nobody knows, longer each time. All work is safe meanwhile.
            await sleep(getattr(later, "retry_after_s", None) or pause_s)
            pause_s = min(2 * pause_s, LONGEST_S)


def parcels(count):
    return "1 parcel" if count == 1 else f"{count} parcels"


if __name__ == "__main__":
    run(main, __doc__, 1)

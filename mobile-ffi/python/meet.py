"""Two phones meet: work that one cannot bring to the server, the other carries there.

    python3 meet.py FOLDER                    waits for a colleague, and prints where: HOST:PORT
    python3 meet.py FOLDER HOST:PORT          goes to meet a colleague who waits there

FOLDER is a folder that quickstart.py has made, with its key beside it. Here the line is TCP, and waits on this machine
alone; in the field it is whatever two phones have between them. Nobody on the line can read or change the work.
"""

import asyncio
import sys

from folder import open_folder, run


async def meet(client, reader, writer):
    meeting = client.meet()
    writer.write(meeting.begin())
    try:
        # Without `drain`: both sides may have much to say, and each must go on reading.
        while not meeting.done() and (heard := await asyncio.wait_for(reader.read(65536), timeout=60)):
            writer.write(meeting.hear(heard))
        writer.close()
        await writer.wait_closed()
    except (OSError, asyncio.TimeoutError):
        pass  # the line was cut; what was taken until then stays
    return meeting.report()


async def main(folder, address=None):
    client = open_folder(folder)
    if address:
        host, _, port = address.rpartition(":")
        try:
            line = await asyncio.open_connection(host, int(port))
        except (OSError, ValueError, OverflowError):
            sys.exit(f"nobody waits at {address}: give the HOST:PORT that a colleague's meet.py prints and waits at")
        report = await meet(client, *line)
    else:
        came = asyncio.get_running_loop().create_future()
        server = await asyncio.start_server(lambda *line: came.done() or came.set_result(line), "127.0.0.1", 0)
        print("%s:%d" % server.sockets[0].getsockname(), flush=True)
        report = await meet(client, *await came)
        server.close()
    how = "complete" if report.complete else report.detail or "the line was cut"
    print(f"{report.colleague or 'nobody'}: gave {report.given}, took {report.taken}, {how}")


if __name__ == "__main__":
    run(main, __doc__, 1, 2)

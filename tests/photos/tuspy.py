import os
import sys

from tusclient.client import TusClient

server, token, path, digest = sys.argv[1:]
client = TusClient(server + "/api/v1/uploads", headers={"Authorization": "Bearer " + token})
size = os.path.getsize(path)

# Two pieces with checksums, then the client is gone.
first = client.uploader(path, chunk_size=100_000, metadata={"sha256": digest, "name": "a b"}, upload_checksum=True)
first.upload_chunk()
first.upload_chunk()
assert first.offset == 200_000, first.offset

# Another one goes on from where it is.
second = client.uploader(path, url=first.url, chunk_size=256 * 1024, upload_checksum=True)
assert second.offset == 200_000, second.offset
second.upload()
assert second.offset == size, (second.offset, size)

third = client.uploader(path, url=first.url)
assert third.offset == size, third.offset

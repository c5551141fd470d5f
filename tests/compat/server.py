"""A server over HTTP, and what it says when it does not do what it is asked: docs/protocol.md, section 2."""

import http.client
import json
import urllib.parse

MEDIA_TYPE = "application/vnd.endcap.sync+cbor"
TIMEOUT_S = 60
# Longer no server keeps a device back.
AFTER_S_MAX = 3600


class Problem(Exception):
    """The server did not do it. `later`: keep everything and try again, after so many seconds if it said so."""

    def __init__(self, status, headers, body):
        try:
            self.code = json.loads(body)["type"].rsplit(":", 1)[1]
        except (ValueError, LookupError, TypeError, AttributeError):
            self.code = "unknown"
        after = headers.get("Retry-After", "").strip()
        self.after_s = min(int(after), AFTER_S_MAX) if after.isdecimal() else None
        self.status, self.later = status, status in (408, 429) or status >= 500
        super().__init__(f"{status} {self.code}")


class Server:
    """At the address and with the token that the device has now."""

    def __init__(self, own):
        self.own = own

    def ask(self, method, path, body=None, headers=None):
        """Status, headers, body. Redirects are not followed: `http.client` does not."""
        own = self.own()
        server = urllib.parse.urlsplit(own["server"])
        secure = server.scheme == "https"
        connect = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        connection = connect(server.hostname, server.port, timeout=TIMEOUT_S)
        headers = {"Accept-Encoding": "identity", **(headers or {})}
        if "token" in own and path != "/api/v1/enrol":
            headers["Authorization"] = "Bearer " + own["token"]
        try:
            connection.request(method, server.path + path, body, headers)
            answer = connection.getresponse()
            data = answer.read()
        finally:
            connection.close()
        if not 200 <= answer.status < 300:
            raise Problem(answer.status, answer.headers, data)
        return answer.status, answer.headers, data

    def ask_json(self, path, question):
        headers = {"Content-Type": "application/json"}
        return json.loads(self.ask("POST", path, json.dumps(question).encode(), headers)[2])

    def ask_cbor(self, path, body):
        return self.ask("POST", path, body, {"Content-Type": MEDIA_TYPE})[2]

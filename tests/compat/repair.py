"""What a device holds, added up: docs/protocol.md, section 13, Repair."""

from formats import need, sha256

PARTS_MAX, WANTED_MAX, LISTED_MAX, ASKED_MAX = 2000, 2000, 16, 1 << 20


def record_digest(key, record):
    return sha256(b"endcap record print v1\0" + key + record)


def total(digests):
    digests = list(digests)
    lanes = [sum(int.from_bytes(d[n : n + 8], "big") for d in digests) % 2**64 for n in range(0, 32, 8)]
    return b"".join(n.to_bytes(8, "big") for n in [len(digests), *lanes])


class Inventory:
    """`items` are the digests that count of each item."""

    def __init__(self, items):
        self.items = {item: digests for item, digests in items.items() if digests}
        self.places = {item: sha256(b"endcap place v1\0" + item)[:8] for item in self.items}

    def sum(self, items):
        return total(digest for item in items for digest in self.items[item])

    def print(self, items):
        return sha256(b"endcap print v1\0" + self.sum(items))[:8]

    def whole(self):
        return self.print(self.items)

    def within(self, depth, prefix):
        """The items of a part, by place and then by name."""
        begins = f"{prefix:0{depth}x}" if depth else ""
        items = [item for item, place in self.places.items() if place.hex().startswith(begins)]
        return sorted(items, key=lambda item: (self.places[item], item))

    def content(self, depth, prefix):
        items = self.within(depth, prefix)
        if len(items) > LISTED_MAX:
            return b"".join(self.print(self.within(depth + 1, prefix << 4 | n)) for n in range(16))
        return [each for item in items for each in (item, self.print([item]))]

    def differences(self, ask):
        """What the other side has and this one lacks or has otherwise; and what only this one has. `ask` asks what
        the other side has in parts."""
        parts, asked, wanted, astray = [[0, 0]], 0, set(), set()
        while parts:
            some, parts = parts[:PARTS_MAX], parts[PARTS_MAX:]
            contents, asked = ask(some), asked + len(some)
            need(len(contents) == len(some) and asked <= ASKED_MAX, "an answer to another repair")
            for (depth, prefix), content in zip(some, contents):
                if isinstance(content, bytes):
                    need(len(content) == 128 and depth < 16, "the prints of 16 parts")
                    for n in range(16):
                        part = [depth + 1, prefix << 4 | n]
                        if self.print(self.within(*part)) != content[8 * n : 8 * n + 8]:
                            parts.append(part)
                else:
                    need(len(content) % 2 == 0 and len(content) <= 2 * LISTED_MAX, "what is in a part")
                    theirs = dict(zip(content[::2], content[1::2]))
                    ours = {item: self.print([item]) for item in self.within(depth, prefix)}
                    wanted |= {item for item, print in theirs.items() if ours.get(item) != print}
                    astray |= ours.keys() - theirs.keys()
        # Records come first: the keys that documents are checked with are among them.
        return sorted(wanted), sorted(astray)

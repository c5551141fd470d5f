"""HPKE (RFC 9180) as docs/protocol.md, section 23, uses it: one message to a known key, opened. X25519 and
ChaCha20-Poly1305 as RFC 7748 and RFC 8439 have them. Slow, and its time depends on the secrets: for tests."""

import hashlib
import hmac
import struct

P = 2**255 - 19
KEM, SUITE = b"KEM\x00\x20", b"HPKE\x00\x20\x00\x01\x00\x03"


def x25519(secret, key):
    n = int.from_bytes(secret, "little") & (1 << 255) - 8 & ~(1 << 255) | 1 << 254
    u = int.from_bytes(key, "little") & (1 << 255) - 1
    x1, x2, z2, x3, z3, swap = u, 1, 0, u, 1, 0
    for place in reversed(range(255)):
        bit = n >> place & 1
        if swap ^ bit:
            x2, x3, z2, z3 = x3, x2, z3, z2
        swap = bit
        a, b, c, d = x2 + z2, x2 - z2, x3 + z3, x3 - z3
        aa, bb, da, cb = a * a % P, b * b % P, d * a % P, c * b % P
        x3, z3 = (da + cb) ** 2 % P, x1 * (da - cb) ** 2 % P
        x2, z2 = aa * bb % P, (aa - bb) * (aa + 121665 * (aa - bb)) % P
    if swap:
        x2, z2 = x3, z3
    return (x2 * pow(z2, P - 2, P) % P).to_bytes(32, "little")


def secret_of(seed):
    """The X25519 secret of an Ed25519 seed."""
    return hashlib.sha512(seed).digest()[:32]


def key_of(key):
    """The X25519 key of an Ed25519 one."""
    y = int.from_bytes(key, "little") & (1 << 255) - 1
    return ((1 + y) * pow(1 - y, P - 2, P) % P).to_bytes(32, "little")


def _extract(suite, salt, label, data):
    return hmac.digest(salt or bytes(32), b"HPKE-v1" + suite + label + data, "sha256")


def _expand(suite, key, label, info, length):
    info = struct.pack(">H", length) + b"HPKE-v1" + suite + label + info
    return hmac.digest(key, info + b"\x01", "sha256")[:length]


def _block(key, counter, nonce):
    state = list(struct.unpack("<16I", b"expand 32-byte k" + key + struct.pack("<I", counter) + nonce))
    work = state[:]
    turn = lambda x, by: (x << by | x >> 32 - by) & 0xFFFFFFFF
    for _ in range(10):
        for a, b, c, d in (
            (0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15),
            (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14),
        ):  # fmt: skip
            for x, y, z, by in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
                work[x] = work[x] + work[y] & 0xFFFFFFFF
                work[z] = turn(work[z] ^ work[x], by)
    return struct.pack("<16I", *(x + y & 0xFFFFFFFF for x, y in zip(work, state)))


def _tag(key, nonce, aad, text):
    once = _block(key, 0, nonce)
    r = int.from_bytes(once[:16], "little") & 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF
    padded = lambda data: data + bytes(-len(data) % 16)
    data, total = padded(aad) + padded(text) + struct.pack("<QQ", len(aad), len(text)), 0
    for place in range(0, len(data), 16):
        total = (total + int.from_bytes(data[place : place + 16] + b"\x01", "little")) * r % (2**130 - 5)
    return ((total + int.from_bytes(once[16:32], "little")) % 2**128).to_bytes(16, "little")


def opened(seed, key, enc, info, aad, ciphertext):
    """The text that was sealed to the Ed25519 key of this seed; None if it does not open."""
    shared = _extract(KEM, b"", b"eae_prk", x25519(secret_of(seed), enc))
    shared = _expand(KEM, shared, b"shared_secret", enc + key_of(key), 32)
    hashed = [_extract(SUITE, b"", label, data) for label, data in ((b"psk_id_hash", b""), (b"info_hash", info))]
    context = b"\x00" + b"".join(hashed)
    secret = _extract(SUITE, shared, b"secret", b"")
    cipher = _expand(SUITE, secret, b"key", context, 32)
    nonce = _expand(SUITE, secret, b"base_nonce", context, 12)
    text, tag = ciphertext[:-16], ciphertext[-16:]
    if not hmac.compare_digest(_tag(cipher, nonce, aad, text), tag):
        return None
    blocks = range(0, len(text), 64)
    stream = b"".join(_block(cipher, 1 + place // 64, nonce) for place in blocks)
    return bytes(a ^ b for a, b in zip(text, stream))

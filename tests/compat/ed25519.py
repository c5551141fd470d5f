"""Ed25519 as RFC 8032 has it, with the strict check of docs/protocol.md, section 10. Slow, and its time
depends on the secrets: for tests."""

import hashlib

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
NEUTRAL = (0, 1, 1, 0)


def _add(a, b):
    e, f = (a[1] - a[0]) * (b[1] - b[0]) % P, (a[1] + a[0]) * (b[1] + b[0]) % P
    c, d = 2 * a[3] * b[3] * D % P, 2 * a[2] * b[2] % P
    e, f, g, h = f - e, d - c, d + c, f + e
    return e * f % P, g * h % P, f * g % P, e * h % P


def _times(n, point):
    out = NEUTRAL
    while n:
        if n & 1:
            out = _add(out, point)
        point, n = _add(point, point), n >> 1
    return out


def _same(a, b):
    return all((a[i] * b[2] - b[i] * a[2]) % P == 0 for i in (0, 1))


def _point(data):
    """None if the bytes are no point, or one of small order."""
    y = int.from_bytes(data, "little")
    sign, y = y >> 255, y & (1 << 255) - 1
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    if y >= P or (x * x - square) % P or (x == 0 and sign):
        return None
    x = P - x if x & 1 != sign else x
    point = x, y, 1, x * y % P
    return None if _same(_times(8, point), NEUTRAL) else point


def _bytes(point):
    inverse = pow(point[2], P - 2, P)
    x, y = point[0] * inverse % P, point[1] * inverse % P
    return (y | (x & 1) << 255).to_bytes(32, "little")


def _scalar(*parts):
    return int.from_bytes(hashlib.sha512(b"".join(parts)).digest(), "little") % L


BASE = _point((4 * pow(5, P - 2, P) % P).to_bytes(32, "little"))


def _secret(seed):
    digest = hashlib.sha512(seed).digest()
    return int.from_bytes(digest[:32], "little") & (1 << 254) - 8 | 1 << 254, digest[32:]


def public(seed):
    return _bytes(_times(_secret(seed)[0], BASE))


def sign(seed, message):
    secret, prefix = _secret(seed)
    nonce = _scalar(prefix, message)
    r = _bytes(_times(nonce, BASE))
    s = (nonce + _scalar(r, public(seed), message) * secret) % L
    return r + s.to_bytes(32, "little")


def verifies(key, message, signature):
    point, r, s = _point(key), _point(signature[:32]), int.from_bytes(signature[32:], "little")
    if len(signature) != 64 or point is None or r is None or s >= L:
        return False
    k = _scalar(signature[:32], key, message)
    return _same(_times(s, BASE), _add(r, _times(k, point)))

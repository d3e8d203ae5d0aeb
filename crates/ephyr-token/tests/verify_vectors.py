"""Checks the token of every vector in a directory against its stated outcome.

An independent implementation of docs/tokens.md with only the standard library:
    python3 verify_vectors.py crates/ephyr-token/vectors
"""
import base64, binascii, datetime, hmac, json, pathlib, re, sys

GENERAL = r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}"
REMOTE = r"[A-Za-z0-9][A-Za-z0-9-]{0,49}"
TOOL = r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}"
METHOD = r"[A-Z]{1,16}"
ULID = r"[0-7][0-9A-HJKMNP-TV-Z]{25}"
PAIRED = {"ssh": (GENERAL, GENERAL), "http": (GENERAL, METHOD), "mcp": (REMOTE, TOOL)}
FLAT = {"target": GENERAL, "role": GENERAL, "service": GENERAL, "method": METHOD, "remote": REMOTE}
HEAD = {"task": ULID, "agent": GENERAL, "holder": r"[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]",
        "initiated_by": r"[A-Za-z0-9._:@/-]{1,128}"}
ORDER = ["task", "agent", "holder", "initiated_by"]


class Refused(Exception):
    pass


def need(condition, code):
    if not condition:
        raise Refused(code)


def layout(text):
    need(text.startswith("mac_"), "not_a_token")
    encoded = text[4:]
    need(len(encoded) <= 10924, "too_long")
    try:
        raw = base64.b64decode(encoded + "=" * (-len(encoded) % 4), b"-_", validate=True)
    except binascii.Error:
        raise Refused("bad_base64")
    need(base64.urlsafe_b64encode(raw).rstrip(b"=").decode() == encoded, "bad_base64")
    need(len(raw) <= 8192, "too_long")
    at = 0

    def take(n):
        nonlocal at
        need(at + n <= len(raw), "truncated")
        at += n
        return raw[at - n:at]

    number = lambda: int.from_bytes(take(4), "big")
    need(take(1) == b"\x02", "bad_version")
    identifier = take(number())
    need(take(number()) == b"ephyr-broker", "bad_location")
    caveats = [take(number()) for _ in range(number())]
    signature = take(32)
    need(at == len(raw), "trailing_bytes")
    match = re.fullmatch(rf"({ULID})\.({ULID})\.(0|[1-9][0-9]*)", identifier.decode("latin-1"))
    need(match, "bad_identifier")
    need(1 <= int(match[3]) <= len(caveats), "bad_section_count")
    return identifier, match[2], int(match[3]), caveats, signature


def parse(raw):
    """Returns a caveat as (subject, value); a list is '*' or a set of names or pairs."""
    text = raw.decode("latin-1")
    subject, _, rest = text.partition(" ")
    if subject in HEAD:
        need(re.fullmatch("= " + HEAD[subject], rest), "malformed_caveat")
        return subject, rest[2:]
    if subject == "expires_before":
        need(re.fullmatch(r"= \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.(?!000)\d{3})?Z", rest, re.A), "malformed_caveat")
        try:
            return subject, datetime.datetime.fromisoformat(rest[2:])
        except ValueError:
            raise Refused("malformed_caveat")
    if subject == "can_delegate":
        need(rest in ("= true", "= false"), "malformed_caveat")
        return subject, rest == "= true"
    if subject == "delegation_depth":
        need(re.fullmatch(r"<= (0|[1-9][0-9]{0,2})", rest) and int(rest[3:]) < 256, "malformed_caveat")
        return subject, int(rest[3:])
    need(subject in PAIRED or subject in FLAT, "malformed_caveat")
    need(rest.startswith("IN [") and rest.endswith("]"), "malformed_caveat")
    if rest == "IN [*]":
        return subject, "*"
    items = rest[4:-1].split(",") if rest != "IN []" else []
    if subject in FLAT:
        need(all(re.fullmatch(FLAT[subject], item) for item in items), "malformed_caveat")
    else:
        key, value = PAIRED[subject]
        need(all(re.fullmatch(rf"{key}:{value}(\+{value})*", item) for item in items), "malformed_caveat")
        keys = [item.partition(":")[0] for item in items]
        need(len(keys) == len(set(keys)), "malformed_caveat")
        items = [(k, v) for k, vs in (item.split(":") for item in items) for v in vs.split("+")]
    need(len(items) == len(set(items)), "malformed_caveat")
    return subject, set(items)


def narrow(limits, subject, value):
    old = limits.get(subject)
    if old is None or old == "*":
        limits[subject] = value
    elif value != "*":
        limits[subject] = old & value if isinstance(old, set) else min(old, value)


def deny_unstated(limits):
    need("expires_before" in limits, "no_expiry")
    for subject in [*PAIRED, *FLAT]:
        limits.setdefault(subject, set())
    limits.setdefault("can_delegate", False)
    limits.setdefault("delegation_depth", 0)


def verify(text, key):
    identifier, root, broker, caveats, signature = layout(text)
    mac = hmac.digest(key, identifier, "sha256")
    for caveat in caveats:
        mac = hmac.digest(mac, caveat, "sha256")
    need(hmac.compare_digest(mac, signature), "bad_signature")
    tasks, limits, last = [], {}, "limit"
    for index, raw in enumerate(caveats):
        subject, value = parse(raw)
        if index == broker:
            need(last not in ("task",), "misplaced_caveat")
            deny_unstated(limits)
        if index >= broker:
            need(subject not in HEAD, "misplaced_caveat")
            need(value != "*", "wildcard_in_holder_section")
        if subject == "task":
            if tasks:
                deny_unstated(limits)
            need(tasks or value == root, "root_mismatch")
            need(last != "task", "misplaced_caveat")
            need(len(tasks) < 6, "too_deep")
            need(value not in tasks, "repeated_task")
            tasks.append(value)
        elif subject == "agent":
            need(last == "task", "misplaced_caveat")
        elif subject in HEAD:
            need(last in ORDER[1:ORDER.index(subject)], "misplaced_caveat")
        else:
            need(tasks and last != "task", "misplaced_caveat")
            narrow(limits, subject, value)
        last = subject
    need(last != "task", "misplaced_caveat")
    deny_unstated(limits)
    return limits


def envelope(limits):
    def shown(value):
        if value == "*" or not any(isinstance(item, tuple) for item in value):
            return value if value == "*" else sorted(value)
        return {key: sorted(v for k, v in value if k == key) for key in {k for k, _ in value}}

    result = {subject: shown(limits[subject]) or {} for subject in PAIRED}
    result |= {subject + "s": shown(limits[subject]) for subject in FLAT}
    time = limits["expires_before"]
    fraction = f".{time.microsecond // 1000:03}" if time.microsecond else ""
    result["expires"] = time.strftime("%Y-%m-%dT%H:%M:%S") + fraction + "Z"
    return result | {"can_delegate": limits["can_delegate"], "delegation_depth": limits["delegation_depth"]}


def main():
    files = sorted(pathlib.Path(sys.argv[1]).glob("*.json"))
    for path in files:
        vector = json.loads(path.read_text())
        try:
            found = envelope(verify(vector["token"], bytes.fromhex(vector["root_key"])))
            expected, valid = vector.get("envelope"), True
        except Refused as refused:
            found, expected, valid = str(refused), vector.get("error"), False
        if found != expected or valid != vector["valid"]:
            sys.exit(f"{path.name}: expected {expected}, found {found}")
    print(f"{len(files)} vectors agree")


main()

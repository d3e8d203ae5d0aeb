# topology: site
"""Whoever has the broker gets nothing from the signer beyond the policy, and nobody else gets anything."""

start_all()
appliance.wait_for_unit("ephyr-signer.service")
KEY = make_key(appliance)
HASH = policy_hash(appliance)


def ask(policy: str = HASH, **changes: object) -> dict[str, object]:
    """A request that is granted, but for what is changed about it."""
    return ask_to_sign(appliance, KEY, policy, **changes)


def countersign(seen: int) -> dict[str, object]:
    """Asks for a countersignature over two more records of a log of which the signer is said to have seen so many."""
    hashes = "A" * 86
    return ask_signer(appliance, {"checkpoint": {"log": "01ARZ3NDEKTSV4RRFFQ69G5FAW", "from": seen, "hashes": hashes}})


def is_refused(code: str, answer: dict[str, object]) -> None:
    t.assertEqual(set(answer), {"error"})
    error = answer["error"]
    assert isinstance(error, dict)
    t.assertEqual(error["code"], code, str(answer))


def refused(code: str, policy: str = HASH, **changes: object) -> None:
    is_refused(code, ask(policy, **changes))


with subtest("nobody but the broker's user is answered"):
    ping = "python3 -c " + shlex.quote(ASK_SIGNER) + " " + shlex.quote('{"ping":{}}')
    for user in ("ephyr-agent-worker", "ephyr-netguard", "nobody"):
        appliance.fail(f"runuser -u {user} -- {ping}")
    # In the group, but not the broker: the socket opens, the signer closes.
    group = "$(getent group ephyr-signer-clients | cut -d: -f3)"
    t.assertNotIn("pong", appliance.execute(f"setpriv --reuid=1501 --regid=1501 --groups={group} {ping}")[1])
    t.assertIn("pong", appliance.succeed(f"runuser -u ephyr-broker -- {ping}"))


with subtest("what the policy grants is signed"):
    t.assertIn("certificate", ask())
    t.assertIn("certificate", ask(agent="worker", role="operate", purpose={"exec": {"command": "id"}}))

with subtest("what the policy does not pair is refused"):
    refused("not_granted", role="operate", purpose={"exec": {"command": "id"}})
    refused("not_granted", target="db")
    refused("not_granted", agent="nobody")
    refused("not_granted", target="web", role="admin")
    t.assertIn("certificate", ask(agent="worker", target="db"))

with subtest("neither longer, nor another command, nor unsealed, nor by another policy"):
    refused("ttl_too_long", ttl="45m")
    refused("command_not_allowed", purpose={"exec": {"command": "uptime; id"}})
    refused("not_unsealed", purpose="session")
    refused("policy_mismatch", policy="0" * 64)
    t.assertIn("certificate", ask())

with subtest("it delegates no longer than the policy says, and countersigns no log that goes back on what it has seen"):
    raw = appliance.succeed("cut -d' ' -f2 /root/key.pub | base64 -d | tail -c 32 | base64 -w0").strip()
    public = raw.rstrip("=").replace("+", "-").replace("/", "_")
    epoch = {"epoch": "01ARZ3NDEKTSV4RRFFQ69G5FAV", "public_key": public, "broker_id": "hostile"}
    t.assertIn("delegation", ask_signer(appliance, {"delegate": {**epoch, "mint_for": "1h"}}))
    is_refused("ttl_too_long", ask_signer(appliance, {"delegate": {**epoch, "mint_for": "25h"}}))
    t.assertIn("checkpoint", countersign(0))
    is_refused("checkpoint_mismatch", countersign(1))
    t.assertIn("checkpoint", countersign(2))

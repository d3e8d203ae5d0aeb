# topology: site
# core: yes
"""An attacker with the broker's user gets nothing from the signer beyond the policy; other users get nothing."""

start_all()
appliance.wait_for_unit("ephyr-signer.service")
KEY = make_key(appliance)
HASH = policy_hash(appliance)


def ask(policy: str = HASH, **changes: object) -> dict[str, object]:
    """A granted request, with changes."""
    return signing(KEY, policy, **changes)


def countersign(seen: int) -> dict[str, object]:
    """Asks for a countersignature over two more records, claiming that the signer has seen so many of the log."""
    hashes = "A" * 86
    return {"checkpoint": {"log": "01ARZ3NDEKTSV4RRFFQ69G5FAW", "from": seen, "hashes": hashes}}


def answers(*wanted: tuple[str, dict[str, object]]) -> None:
    """Asks the signer in this order; each answer must have this name, or be an error with this code."""
    found = []
    for answer in ask_signer_all(appliance, [request for _, request in wanted]):
        error = answer.get("error")
        found.append(str(error["code"]) if isinstance(error, dict) else "".join(answer))
    t.assertEqual(found, [name for name, _ in wanted])


with subtest("nobody but the broker's user is answered"):
    ping = "python3 -c " + shlex.quote(ASK_SIGNER) + " " + shlex.quote('{"ping":{}}')
    for user in ("ephyr-agent-worker", "ephyr-netguard", "nobody"):
        appliance.fail(f"runuser -u {user} -- {ping}")
    # In the group, but not the broker: the connection opens, and the signer closes it.
    group = "$(getent group ephyr-signer-clients | cut -d: -f3)"
    t.assertNotIn("pong", appliance.execute(f"setpriv --reuid=1501 --regid=1501 --groups={group} {ping}")[1])
    t.assertIn("pong", appliance.succeed(f"runuser -u ephyr-broker -- {ping}"))

with subtest("what the policy grants is signed"):
    answers(
        ("certificate", ask()),
        ("certificate", ask(agent="worker", role="operate", purpose={"exec": {"command": "id"}})),
    )

with subtest("what the policy does not pair is refused"):
    answers(
        ("not_granted", ask(role="operate", purpose={"exec": {"command": "id"}})),
        ("not_granted", ask(target="db")),
        ("not_granted", ask(agent="nobody")),
        ("not_granted", ask(target="web", role="admin")),
        ("certificate", ask(agent="worker", target="db")),
    )

with subtest("neither longer, nor another command, nor unsealed, nor by another policy"):
    answers(
        ("ttl_too_long", ask(ttl="45m")),
        ("command_not_allowed", ask(purpose={"exec": {"command": "uptime; id"}})),
        ("not_unsealed", ask(purpose="session")),
        ("policy_mismatch", ask(policy="0" * 64)),
        ("certificate", ask()),
    )

with subtest("it delegates no longer than the policy says, and countersigns no log that goes back on what it has seen"):
    raw = appliance.succeed("cut -d' ' -f2 /root/key.pub | base64 -d | tail -c 32 | base64 -w0").strip()
    public = raw.rstrip("=").replace("+", "-").replace("/", "_")
    epoch = {"epoch": "01ARZ3NDEKTSV4RRFFQ69G5FAV", "public_key": public, "broker_id": "hostile"}
    answers(
        ("delegation", {"delegate": {**epoch, "mint_for": "1h"}}),
        ("ttl_too_long", {"delegate": {**epoch, "mint_for": "25h"}}),
        ("checkpoint", countersign(0)),
        ("checkpoint_mismatch", countersign(1)),
        ("checkpoint", countersign(2)),
    )

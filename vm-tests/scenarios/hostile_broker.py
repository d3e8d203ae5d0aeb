# topology: site
"""Whoever has the broker gets nothing from the signer beyond the policy, and nobody else gets anything."""

start_all()
wait_for_appliance(appliance)

appliance.succeed("rm -f /root/key*; ssh-keygen -q -t ed25519 -N '' -f /root/key")
KEY = " ".join(appliance.succeed("cat /root/key.pub").split()[:2])
HASH = appliance.succeed("ephyr policy hash").strip()


def ask(**changes: object) -> dict[str, object]:
    """A request that is granted, but for what is changed about it."""
    intent: dict[str, object] = {
        "policy": HASH,
        "agent": "scout",
        "target": "web",
        "role": "read",
        "ttl": "1m",
        "public_key": KEY,
        "lineage": [],
        "purpose": {"exec": {"command": "uptime"}},
    }
    intent.update(changes)
    return ask_signer(appliance, {"sign": {"intent": intent}})


def refused(code: str, **changes: object) -> None:
    answer = ask(**changes)
    t.assertNotIn("certificate", answer)
    error = answer["error"]
    assert isinstance(error, dict)
    t.assertEqual(error["code"], code, str(answer))


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

with subtest("nobody else is answered"):
    answer = "python3 -c " + shlex.quote(ASK_SIGNER) + " " + shlex.quote('{"ping":{}}')
    t.assertIn("pong", appliance.succeed(f"runuser -u ephyr-broker -- {answer}"))
    for user in ("ephyr-agent-worker", "ephyr-netguard", "nobody"):
        appliance.fail(f"runuser -u {user} -- {answer}")
    # In the group, but not the broker: the socket opens, the signer closes.
    appliance.fail(f"setpriv --reuid=1501 --regid=1501 --groups=$(getent group ephyr-signer-clients | cut -d: -f3) {answer}")

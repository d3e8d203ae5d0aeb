# topology: site
"""One reload moves broker, signer and firewall to a changed policy and keeps their processes; a bad one moves nothing and is said."""

start_all()
wait_for_appliance(appliance)
DAEMONS = ("ephyr-signer", "ephyr-broker", "ephyr-netguard")
appliance.succeed("rm -f /root/key*; ssh-keygen -q -t ed25519 -N '' -f /root/key")
KEY = " ".join(appliance.succeed("cat /root/key.pub").split()[:2])


def pids() -> dict[str, str]:
    return {name: appliance.get_unit_property(f"{name}.service", "MainPID") for name in DAEMONS}


def file_hash() -> str:
    """The hash of the policy that lies there."""
    return appliance.succeed("ephyr policy hash").strip()


def hashes() -> dict[str, str]:
    """The hash of the policy that each has in force, as it says itself."""
    pong = ask_signer(appliance, {"ping": {}})["pong"]
    assert isinstance(pong, dict)
    health = json.loads(appliance.succeed(as_agent("worker", "ephyr health --json")))
    status = json.loads(appliance.succeed("cat /run/ephyr-netguard/status.json"))
    return {"ephyr-signer": pong["policy"], "ephyr-broker": health["details"]["policy"], "ephyr-netguard": status["policy"]}


def all_have(policy: str) -> None:
    t.assertEqual(hashes(), {name: policy for name in DAEMONS})


def signs(command: str, policy: str) -> bool:
    """Whether the signer certifies a key for scout to run a command as `read` on web."""
    intent = {
        "policy": policy,
        "agent": "scout",
        "target": "web",
        "role": "read",
        "ttl": "1m",
        "public_key": KEY,
        "lineage": [],
        "purpose": {"exec": {"command": command}},
    }
    return "certificate" in ask_signer(appliance, {"sign": {"intent": intent}})


def held(uid: int) -> bool:
    """Whether the firewall holds processes of a user."""
    command = f"setpriv --reuid={uid} --regid={uid} --clear-groups nc -z -w 5 127.0.0.1 8554"
    return appliance.execute(command, timeout=60)[0] != 0


first = file_hash()
before = pids()
all_have(first)
t.assertEqual(appliance.succeed(exec_as("scout", "web", "read", "id -un")), "agent-read\n")
t.assertTrue(signs("id -un", first))
exits(appliance, exec_as("scout", "web", "read", "uptime -p"), 77)
t.assertFalse(signs("uptime -p", first))
t.assertFalse(held(1504))

with subtest("a reload moves all three at once, and their processes stay"):
    write_policy(
        appliance,
        "policy['roles']['read']['commands'] = ['uptime -p']; policy['agents']['late'] = {'uid': 1504}",
    )
    second = file_hash()
    t.assertNotEqual(second, first)
    appliance.succeed("systemctl reload ephyr-broker.service", timeout=120)
    all_have(second)
    t.assertEqual(pids(), before)
    # The broker grants what it refused and refuses what it granted; so does the signer; the firewall holds one more.
    t.assertIn("up", appliance.succeed(exec_as("scout", "web", "read", "uptime -p")))
    exits(appliance, exec_as("scout", "web", "read", "id -un"), 77)
    t.assertTrue(signs("uptime -p", second))
    t.assertFalse(signs("id -un", second))
    t.assertFalse(signs("id -un", first))
    t.assertTrue(held(1504))

with subtest("a policy with a mistake moves none, everything keeps the old one, and each says so"):
    write_policy(appliance, "policy['roles']['read']['comands'] = policy['roles']['read'].pop('commands'); del policy['agents']['late']")
    since = appliance.succeed("date '+%Y-%m-%d %H:%M:%S'").strip()
    appliance.execute("systemctl reload ephyr-broker.service", timeout=120)
    all_have(second)
    t.assertEqual(pids(), before)
    t.assertIn("up", appliance.succeed(exec_as("scout", "web", "read", "uptime -p")))
    exits(appliance, exec_as("scout", "web", "read", "id -un"), 77)
    t.assertTrue(signs("uptime -p", second))
    t.assertTrue(held(1504))
    for name in DAEMONS:
        log = appliance.succeed(f"journalctl --no-pager -o cat -u {name}.service --since {shlex.quote(since)}")
        t.assertIn("roles.read.comands", log, name)
    appliance.succeed("grep policy_reload_failed /var/log/ephyr/audit.jsonl | grep roles.read.comands")

with subtest("the corrected policy moves all three again"):
    write_policy(
        appliance,
        "policy['roles']['read'].pop('comands'); policy['roles']['read']['commands'] = ['id -un']; policy['agents'].pop('late', None)",
    )
    third = file_hash()
    appliance.succeed("systemctl reload ephyr-signer.service", timeout=120)
    all_have(third)
    t.assertEqual(pids(), before)
    t.assertEqual(appliance.succeed(exec_as("scout", "web", "read", "id -un")), "agent-read\n")
    t.assertFalse(held(1504))

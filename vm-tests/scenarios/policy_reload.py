# topology: site
"""One reload moves broker, signer and firewall to a changed policy and keeps their processes; a bad one moves nothing and fails."""

start_all()
wait_for_appliance(appliance)
DAEMONS = ("ephyr-signer", "ephyr-broker", "ephyr-netguard")
KEY = make_key(appliance)


def pids() -> dict[str, str]:
    return {name: appliance.get_unit_property(f"{name}.service", "MainPID") for name in DAEMONS}


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
    return "certificate" in ask_to_sign(appliance, KEY, policy, purpose={"exec": {"command": command}})


def held(uid: int) -> bool:
    """Whether the firewall holds processes of a user."""
    command = f"setpriv --reuid={uid} --regid={uid} --clear-groups nc -z -w 5 127.0.0.1 8554"
    return appliance.execute(command, timeout=60)[0] != 0


first = policy_hash(appliance)
before = pids()
all_have(first)
t.assertEqual(runs(appliance, exec_as("scout", "web", "read", "id -un")), "agent-read\n")
t.assertTrue(signs("id -un", first))
exits(appliance, exec_as("scout", "web", "read", "uptime -p"), 77)
t.assertFalse(signs("uptime -p", first))
t.assertFalse(held(1504))

with subtest("a reload moves all three at once, and their processes stay"):
    write_policy(
        appliance,
        "policy['roles']['read']['commands'] = ['uptime -p']; policy['agents']['late'] = {'uid': 1504}",
    )
    second = policy_hash(appliance)
    t.assertNotEqual(second, first)
    appliance.succeed("systemctl reload ephyr-broker.service", timeout=120)
    all_have(second)
    t.assertEqual(pids(), before)
    # The broker grants what it refused and refuses what it granted; so does the signer; the firewall holds one more.
    t.assertIn("up", runs(appliance, exec_as("scout", "web", "read", "uptime -p")))
    exits(appliance, exec_as("scout", "web", "read", "id -un"), 77)
    t.assertTrue(signs("uptime -p", second))
    t.assertFalse(signs("id -un", second))
    t.assertFalse(signs("id -un", first))
    t.assertTrue(held(1504))

with subtest("a policy with a mistake moves none, everything keeps the old one, and each says so"):
    write_policy(appliance, "policy['roles']['read']['comands'] = policy['roles']['read'].pop('commands'); del policy['agents']['late']")
    since = appliance.succeed("date '+%Y-%m-%d %H:%M:%S'").strip()
    for name in DAEMONS:
        appliance.fail(f"systemctl reload {name}.service", timeout=120)
        t.assertEqual(appliance.get_unit_property(f"{name}.service", "ActiveState"), "active")
    all_have(second)
    t.assertEqual(pids(), before)
    t.assertIn("up", runs(appliance, exec_as("scout", "web", "read", "uptime -p")))
    exits(appliance, exec_as("scout", "web", "read", "id -un"), 77)
    t.assertTrue(signs("uptime -p", second))
    t.assertTrue(held(1504))
    for name in DAEMONS:
        log = appliance.succeed(f"journalctl --no-pager -o cat -u {name}.service --since {shlex.quote(since)}")
        t.assertIn("roles.read.comands", log, name)
    # Whoever sends the signal by hand finds it in the audit log.
    appliance.succeed("systemctl kill --kill-whom=main --signal=HUP ephyr-broker.service")
    appliance.wait_until_succeeds("grep policy_reload_failed /var/log/ephyr/audit.jsonl | grep roles.read.comands")
    all_have(second)

with subtest("the corrected policy moves all three again"):
    write_policy(
        appliance,
        "policy['roles']['read'].pop('comands'); policy['roles']['read']['commands'] = ['id -un']; policy['agents'].pop('late', None)",
    )
    third = policy_hash(appliance)
    appliance.succeed("systemctl reload ephyr-broker.service", timeout=120)
    all_have(third)
    t.assertEqual(pids(), before)
    t.assertEqual(runs(appliance, exec_as("scout", "web", "read", "id -un")), "agent-read\n")
    t.assertFalse(held(1504))

with subtest("a policy that demands more of Landlock than the kernel has moves none"):
    write_policy(appliance, "policy['sandbox'] = {'minimum_abi': 10}")
    for name in DAEMONS:
        appliance.fail(f"systemctl reload {name}.service", timeout=120)
        t.assertIn("minimum_abi", appliance.succeed(f"journalctl --no-pager -o cat -n 20 -u {name}.service"), name)
    all_have(third)
    t.assertEqual(pids(), before)
    t.assertEqual(appliance.succeed(exec_as("scout", "web", "read", "id -un")), "agent-read\n")
    write_policy(appliance, "policy['sandbox'] = {'minimum_abi': 1}")
    appliance.succeed("systemctl reload ephyr-broker.service", timeout=120)
    all_have(policy_hash(appliance))

with subtest("what runs is judged by the new policy: what it no longer allows is ended, and the rest goes on"):
    grant = "policy['agents']['scout']['ssh']['web']['roles'] = ['operate']; policy['agents']['worker']['ssh']['web']['roles'] = ['operate']"
    write_policy(appliance, grant)
    appliance.succeed("systemctl reload ephyr-broker.service", timeout=120)
    for agent in ("scout", "worker"):
        appliance.succeed(
            f"systemd-run --quiet --unit=long-{agent} --uid=ephyr-agent-{agent} "
            f"ephyr exec web --role operate --timeout 300 -- 'exec -a {agent} sleep 1000'"
        )
        web.wait_until_succeeds(f"pgrep -f '^{agent} 1000'", timeout=120)
    write_policy(appliance, "policy['agents']['scout']['ssh']['web']['roles'] = ['read']")
    appliance.succeed("systemctl reload ephyr-broker.service", timeout=120)
    web.wait_until_fails("pgrep -f '^scout 1000'", timeout=60)
    web.succeed("pgrep -f '^worker 1000'")

with subtest("a client that is connected goes on with what the new policy gives it, and with its new API key alone"):
    place = "http://127.0.0.1:8554"
    keys, hashed = [], []
    for _ in range(2):
        made = json.loads(appliance.succeed("ephyr keys new remote --json"))
        keys.append(f"Authorization: Bearer {made['api_key']}")
        hashed.append(str(made["api_key_hash"]))
    remote = "policy['agents']['remote'] = {'api_key_hash': %r, 'ssh': {%r: {'roles': ['operate' if %r == 'web' else 'read']}}}"
    write_policy(appliance, remote % (hashed[0], "web", "web"))
    appliance.succeed("systemctl reload ephyr-broker.service", timeout=120)
    session = appliance.succeed(mcp_begin(place, keys[0])).strip()

    def asks(key: str) -> str:
        call: dict[str, object] = {"name": "list_targets", "arguments": {}}
        return appliance.succeed(mcp(place, "tools/call", call, f"Mcp-Session-Id: {session}", key))

    first_answer = asks(keys[0])
    t.assertIn("192.168.1.2", first_answer)
    t.assertNotIn("192.168.1.3", first_answer)
    t.assertIn(" 401", asks(keys[1]).splitlines()[0])
    write_policy(appliance, remote % (hashed[1], "db", "db"))
    appliance.succeed("systemctl reload ephyr-broker.service", timeout=120)
    t.assertIn(" 401", asks(keys[0]).splitlines()[0])
    second_answer = asks(keys[1])
    t.assertIn("192.168.1.3", second_answer)
    t.assertNotIn("192.168.1.2", second_answer)
    t.assertEqual(pids(), before)

with subtest("an agent's key that the broker has as a credential is no hindrance to a reload"):
    appliance.succeed(
        "ephyr keys new far | sed -n 's/^api_key_hash: //p' > /etc/ephyr/far; chmod 400 /etc/ephyr/far; "
        "mkdir -p /run/systemd/system/ephyr-broker.service.d; "
        "printf '[Service]\\nLoadCredential=far:/etc/ephyr/far\\n' > /run/systemd/system/ephyr-broker.service.d/far.conf; "
        "systemctl daemon-reload; systemctl restart ephyr-broker.service"
    )
    write_policy(appliance, "policy['agents']['far'] = {'api_key_hash_credential': 'far'}")
    appliance.succeed("systemctl reload ephyr-broker.service", timeout=120)
    all_have(policy_hash(appliance))

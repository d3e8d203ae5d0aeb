# topology: site
# core: yes
"""One reload puts a changed policy in force in broker, signer and firewall and keeps their processes; a bad policy changes nothing and fails."""

start_all()
wait_for_appliance(appliance)
DAEMONS = ("ephyr-signer", "ephyr-broker", "ephyr-netguard")
KEY = make_key(appliance)


def now() -> tuple[dict[str, str], dict[str, str]]:
    """Each daemon's process id, and the hash of the policy that it reports."""
    ping = f"runuser -u ephyr-broker -- python3 -c {shlex.quote(ASK_SIGNER)} {shlex.quote(json.dumps({'ping': {}}))}"
    text = appliance.succeed(
        f"systemctl show -P MainPID {' '.join(f'{name}.service' for name in DAEMONS)}; echo ==; "
        f"{ping}; echo ==; {as_agent('worker', 'ephyr health --json')}; echo ==; cat /run/ephyr-netguard/status.json"
    )
    pids, pong, health, status = text.split("==\n")
    hashes = (json.loads(pong)["pong"]["policy"], json.loads(health)["details"]["policy"], json.loads(status)["policy"])
    return dict(zip(DAEMONS, pids.split())), dict(zip(DAEMONS, hashes))


def all_have(policy: str) -> None:
    """All three have this policy in force, in the same processes as before."""
    t.assertEqual(now(), (before, {name: policy for name in DAEMONS}))


def signs(*wanted: tuple[str, str]) -> list[bool]:
    """For each command and policy hash, whether the signer certifies a key for scout to run it as `read` on web."""
    requests = [signing(KEY, policy, purpose={"exec": {"command": command}}) for command, policy in wanted]
    return ["certificate" in answer for answer in ask_signer_all(appliance, requests)]


def held(uid: int) -> bool:
    """Returns whether the firewall rejects packets of a user."""
    command = f"setpriv --reuid={uid} --regid={uid} --clear-groups nc -z -w 20 127.0.0.1 8554"
    return appliance.execute(command, timeout=60)[0] != 0


first = policy_hash(appliance)
before = now()[0]
all_have(first)
t.assertEqual(runs(appliance, exec_as("scout", "web", "read", "id -un")), "agent-read\n")
exits(appliance, exec_as("scout", "web", "read", "uptime -p"), 77)
t.assertEqual(signs(("id -un", first), ("uptime -p", first)), [True, False])
t.assertFalse(held(1504))

with subtest("a reload moves all three at once, and their processes stay"):
    write_policy(
        appliance,
        "policy['roles']['read']['commands'] = ['uptime -p']; policy['agents']['late'] = {'uid': 1504}",
    )
    second = policy_hash(appliance)
    t.assertNotEqual(second, first)
    reload_policy(appliance)
    all_have(second)
    # Broker and signer grant what they refused and refuse what they granted; the firewall covers one more UID.
    t.assertIn("up", runs(appliance, exec_as("scout", "web", "read", "uptime -p")))
    exits(appliance, exec_as("scout", "web", "read", "id -un"), 77)
    t.assertEqual(signs(("uptime -p", second), ("id -un", second), ("id -un", first)), [True, False, False])
    t.assertTrue(held(1504))

with subtest("a policy with a mistake moves none, everything keeps the old one, and each says so"):
    write_policy(appliance, "policy['roles']['read']['comands'] = policy['roles']['read'].pop('commands'); del policy['agents']['late']")
    for name in DAEMONS:
        appliance.fail(f"systemctl reload {name}.service", timeout=300)
        appliance.require_unit_state(f"{name}.service")
    all_have(second)
    t.assertIn("up", runs(appliance, exec_as("scout", "web", "read", "uptime -p")))
    exits(appliance, exec_as("scout", "web", "read", "id -un"), 77)
    t.assertEqual(signs(("uptime -p", second)), [True])
    t.assertTrue(held(1504))
    for name in DAEMONS:
        t.assertIn("roles.read.comands", journal(appliance, f"-u {name}.service"), name)
    # After a manual signal, the failure is in the audit log.
    count = "grep policy_reload_failed /var/log/ephyr/audit.jsonl | grep -c roles.read.comands || true"
    recorded = int(appliance.succeed(count))
    appliance.succeed("systemctl kill --kill-whom=main --signal=HUP ephyr-broker.service")
    appliance.wait_until_succeeds(f"test $({count}) -gt {recorded}", timeout=120)
    all_have(second)

with subtest("the corrected policy moves all three again"):
    write_policy(
        appliance,
        "policy['roles']['read'].pop('comands'); policy['roles']['read']['commands'] = ['id -un']; policy['agents'].pop('late', None)",
    )
    third = policy_hash(appliance)
    reload_policy(appliance)
    all_have(third)
    t.assertEqual(runs(appliance, exec_as("scout", "web", "read", "id -un")), "agent-read\n")
    t.assertFalse(held(1504))

with subtest("a policy that demands more of Landlock than the kernel has moves none"):
    write_policy(appliance, "policy['sandbox'] = {'minimum_abi': 10}")
    for name in DAEMONS:
        appliance.fail(f"systemctl reload {name}.service", timeout=300)
        t.assertIn("minimum_abi", journal(appliance, f"-n 20 -u {name}.service"), name)
    all_have(third)
    t.assertEqual(runs(appliance, exec_as("scout", "web", "read", "id -un")), "agent-read\n")
    write_policy(appliance, "policy['sandbox'] = {'minimum_abi': 1}")
    reload_policy(appliance)
    all_have(policy_hash(appliance))

with subtest("what runs is judged by the new policy: what it no longer allows is ended, and the rest goes on"):
    grant = "policy['agents']['scout']['ssh']['web']['roles'] = ['operate']; policy['agents']['worker']['ssh']['web']['roles'] = ['operate']"
    write_policy(appliance, grant)
    reload_policy(appliance)
    for agent in ("scout", "worker"):
        appliance.succeed(
            f"systemd-run --quiet --unit=long-{agent} --uid=ephyr-agent-{agent} "
            f"ephyr exec web --role operate --timeout 300 -- 'exec -a {agent} sleep 100000'"
        )
        web.wait_until_succeeds(f"pgrep -f '^{agent} 100000'", timeout=120)
    write_policy(appliance, "policy['agents']['scout']['ssh']['web']['roles'] = ['read']")
    reload_policy(appliance)
    web.wait_until_fails("pgrep -f '^scout 100000'", timeout=60)
    web.succeed("pgrep -f '^worker 100000'")

with subtest("a client that is connected goes on with what the new policy gives it, and with its new API key alone"):
    place = "http://127.0.0.1:8554"
    keys, hashed = [], []
    for _ in range(2):
        made = json.loads(appliance.succeed("ephyr keys new remote --json"))
        keys.append(f"Authorization: Bearer {made['api_key']}")
        hashed.append(str(made["api_key_hash"]))
    remote = "policy['agents']['remote'] = {'api_key_hash': %r, 'ssh': {%r: {'roles': ['operate' if %r == 'web' else 'read']}}}"
    write_policy(appliance, remote % (hashed[0], "web", "web"))
    reload_policy(appliance)
    session = appliance.succeed(mcp_begin(place, keys[0])).strip()

    def asks(key: str) -> str:
        call: dict[str, object] = {"name": "list_targets", "arguments": {}}
        return appliance.succeed(mcp(place, "tools/call", call, f"Mcp-Session-Id: {session}", key))

    first_answer = asks(keys[0])
    t.assertIn("192.168.1.2", first_answer)
    t.assertNotIn("192.168.1.3", first_answer)
    t.assertIn(" 401", asks(keys[1]).splitlines()[0])
    write_policy(appliance, remote % (hashed[1], "db", "db"))
    reload_policy(appliance)
    t.assertIn(" 401", asks(keys[0]).splitlines()[0])
    second_answer = asks(keys[1])
    t.assertIn("192.168.1.3", second_answer)
    t.assertNotIn("192.168.1.2", second_answer)
    all_have(policy_hash(appliance))

with subtest("an agent's key that the broker has as a credential is no hindrance to a reload"):
    appliance.succeed(
        "ephyr keys new far | sed -n 's/^api_key_hash: //p' > /etc/ephyr/far; chmod 400 /etc/ephyr/far; "
        "mkdir -p /run/systemd/system/ephyr-broker.service.d; "
        "printf '[Service]\\nLoadCredential=far:/etc/ephyr/far\\n' > /run/systemd/system/ephyr-broker.service.d/far.conf; "
        "systemctl daemon-reload; systemctl restart ephyr-broker.service"
    )
    before = now()[0]
    write_policy(appliance, "policy['agents']['far'] = {'api_key_hash_credential': 'far'}")
    reload_policy(appliance)
    all_have(policy_hash(appliance))

# topology: site
"""Revoking a task ends its running command on the target, and no command of another task."""

start_all()
wait_for_appliance(appliance)


def begin(mark: str) -> tuple[str, str]:
    """Starts a long command in a new task; the task's id and the unit that waits for the command."""
    text = appliance.succeed(as_agent("worker", "ephyr task create --description x --json"))
    made = json.loads(text)
    number = str(made["task_id"])
    unit = f"wait-{mark}"
    appliance.succeed(
        f"systemd-run --quiet --unit={unit} --uid=ephyr-agent-worker -E EPHYR_TOKEN={made['token']} --property=RemainAfterExit=yes "
        f"ephyr exec web --role operate --timeout 300 -- 'exec -a {mark} sleep 100000'"
    )
    web.wait_until_succeeds(f"pgrep -f '^{mark} 100000'", timeout=120)
    return number, unit


first, first_unit = begin("first")
second, second_unit = begin("second")

with subtest("a stranger cannot revoke it"):
    exits(appliance, as_agent("scout", f"ephyr task revoke {first} 2>&1"), 65, says="not found")
    web.succeed("pgrep -f '^first 100000'")

with subtest("the revoked task's command ends on the target"):
    appliance.succeed(as_agent("worker", f"ephyr task revoke {first}"))
    web.wait_until_fails("pgrep -f '^first 100000'", timeout=60)
    appliance.wait_until_succeeds(f"systemctl show -P SubState {first_unit} | grep -v running", timeout=60)

with subtest("the other one's goes on"):
    web.succeed("pgrep -f '^second 100000'")
    t.assertEqual(appliance.get_unit_property(f"{second_unit}.service", "SubState"), "running")

with subtest("the log says what happened"):
    events = appliance.succeed(f"ephyr audit query --json --task {first}")
    t.assertIn("task_revoked", events)

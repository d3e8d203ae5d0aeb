# topology: site
"""Tasks survive a restart, a kill and a reload of both daemons; a reboot ends them all."""

start_all()
wait_for_appliance(appliance)


def create() -> str:
    return appliance.succeed(as_agent("worker", "ephyr task create --description x --token-only")).strip()


def use(token: str) -> str:
    return as_agent("worker", f"EPHYR_TOKEN={token} ephyr exec web --role read -- 'id -un' 2>&1")


token = create()
t.assertEqual(runs(appliance, use(token)), "agent-read\n")

with subtest("a restart keeps them"):
    before = appliance.get_unit_property("ephyr-broker.service", "MainPID")
    appliance.succeed("systemctl restart ephyr-signer.service ephyr-broker.service")
    wait_for_appliance(appliance)
    t.assertNotEqual(appliance.get_unit_property("ephyr-broker.service", "MainPID"), before)
    t.assertEqual(runs(appliance, use(token)), "agent-read\n")

with subtest("a kill keeps them"):
    for unit in ("ephyr-broker.service", "ephyr-signer.service"):
        before = appliance.get_unit_property(unit, "MainPID")
        appliance.succeed(f"systemctl kill --signal=KILL {unit}")
        appliance.wait_until_succeeds(f"test $(systemctl show -P MainPID {unit}) -gt 0 -a $(systemctl show -P MainPID {unit}) != {before}")
    wait_for_appliance(appliance)
    t.assertEqual(runs(appliance, use(token)), "agent-read\n")

with subtest("what was revoked before stays revoked"):
    second = create()
    info = json.loads(appliance.succeed(as_agent("worker", f"EPHYR_TOKEN={second} ephyr task info --json")))
    number = str(info["task"]["id"])
    appliance.succeed(as_agent("worker", f"ephyr task revoke {number}"))
    exits(appliance, use(second), 77)
    appliance.succeed("systemctl kill --signal=KILL ephyr-broker.service")
    wait_for_appliance(appliance)
    exits(appliance, use(second), 77)
    t.assertEqual(runs(appliance, use(token)), "agent-read\n")

with subtest("the audit log is whole after all that"):
    log_is_whole(appliance)

with subtest("a reboot ends them, and new ones work"):
    appliance.start(allow_reboot=True)
    appliance.reboot()
    appliance.wait_for_unit("multi-user.target")
    same_time(appliance, web)
    wait_for_appliance(appliance)
    exits(appliance, use(token), 77)
    t.assertEqual(runs(appliance, use(create())), "agent-read\n")

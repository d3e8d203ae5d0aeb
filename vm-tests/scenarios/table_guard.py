# topology: site
"""Manual changes of the firewall's table are detected, reported and undone; other tables are left alone."""

start_all()
wait_for_appliance(appliance)
UNIT = "ephyr-netguard.service"
#: A manual change, the report of `check`, and whether agents can then send.
TAMPERINGS = [
    ("nft flush ruleset", "there is no table inet ephyr", True),
    ("nft delete table inet ephyr", "there is no table inet ephyr", True),
    ("nft flush chain inet ephyr output", "output", True),
    ("nft insert rule inet ephyr output accept", "output", True),
    ("nft insert rule inet ephyr agent tcp dport 22 accept", "agent", True),
    ("nft delete element inet ephyr agents { 1501 }", "agents", True),
    ("nft add element inet ephyr reachable4 { 1501 . 127.0.0.1 . 22 }", "reachable4", True),
    ("nft add table inet ephyr '{ flags dormant; }'", "", True),
    ("nft add element inet ephyr agents { 1600 }", "agents", False),
    ("nft add chain inet ephyr more", "more", False),
]


#: Prints whether an agent's process reaches a port of this machine.
FREE = "if runuser -u ephyr-agent-scout -- nc -z -w 20 127.0.0.1 22; then echo free; else echo held; fi"


def free() -> bool:
    """Returns whether an agent's process reaches a port of this machine."""
    return appliance.succeed(FREE) == "free\n"


def status(key: str) -> object:
    """The guard's status."""
    found = json.loads(appliance.succeed("cat /run/ephyr-netguard/status.json"))
    assert isinstance(found, dict)
    return found[key]


def alerts() -> list[str]:
    """The guard's log at level alert."""
    return journal(appliance, f"-p alert -u {UNIT}").splitlines()


def restored(repairs: int) -> None:
    """Waits until the guard has reported so many repairs: it restores the table first and reports afterwards."""
    retry(lambda _last: int(str(status("repairs"))) >= repairs and len(alerts()) >= repairs, 60)
    t.assertEqual((status("repairs"), len(alerts())), (repairs, repairs))


with subtest("a table that nobody touched is as the policy says"):
    appliance.succeed("ephyr-netguard check")
    t.assertFalse(free())
    t.assertTrue(status("in_force"))
    t.assertEqual(alerts(), [])
    t.assertEqual(status("repairs"), 0)

with subtest("each change is seen by `check`, undone by the guard, and raises an alert"):
    for done, (command, named, opens) in enumerate(TAMPERINGS, 1):
        # The guard is stopped, which leaves time to look.
        said = appliance.succeed(
            f"systemctl kill --signal=STOP {UNIT}; {command}; code=0; ephyr-netguard check 2>&1 || code=$?; echo check $code; {FREE}"
        )
        t.assertIn(named, said, command)
        t.assertEqual(said.splitlines()[-2:], ["check 1", "free" if opens else "held"], f"{command}: {said}")
        appliance.succeed(f"systemctl kill --signal=CONT {UNIT}")
        wait_for_table(appliance)
        t.assertFalse(free(), command)
        restored(done)
        t.assertIn("table inet ephyr was changed and has been restored", alerts()[-1])

with subtest("so it is when the guard runs all the time"):
    for done, command in enumerate(("nft flush ruleset", "nft insert rule inet ephyr output accept"), len(TAMPERINGS) + 1):
        appliance.succeed(command)
        wait_for_table(appliance)
        t.assertFalse(free())
        restored(done)
    t.assertTrue(status("in_force"))

with subtest("another table is left alone, and is no reason for an alert"):
    before = len(alerts())
    appliance.succeed("nft add table inet mine; nft add chain inet mine output '{ type filter hook output priority 0; }'")
    appliance.succeed("ephyr-netguard check")
    # The guard checks after each change and periodically; the status has the time of a check. The second check from now on
    # started with the other table present.
    for _ in range(2):
        looked = status("checked")
        retry(lambda _last: status("checked") != looked, 60)
    appliance.succeed("nft list chain inet mine output")
    t.assertEqual(len(alerts()), before)

with subtest("the table outlasts its guard, and goes only with the unit that says so"):
    for command in (f"systemctl kill --signal=KILL {UNIT}", f"systemctl stop {UNIT}"):
        appliance.succeed(command)
        appliance.succeed("ephyr-netguard check")
        t.assertFalse(free())
    appliance.succeed("systemctl stop ephyr-netguard-table.service")
    t.assertTrue(free())
    exits(appliance, "ephyr-netguard check", 1)
    appliance.succeed(f"systemctl start {UNIT}")
    appliance.succeed("ephyr-netguard check")
    t.assertFalse(free())

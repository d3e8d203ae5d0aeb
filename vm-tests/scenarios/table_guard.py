# topology: site
"""Whatever someone does to the firewall's table by hand is seen, said and undone; other tables are nobody's business."""

start_all()
wait_for_appliance(appliance)
UNIT = "ephyr-netguard.service"
#: What someone does by hand, what `check` says of it, and whether agents are then free.
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


def free() -> bool:
    """Whether an agent's process reaches a port of this machine."""
    return appliance.execute("runuser -u ephyr-agent-scout -- nc -z -w 5 127.0.0.1 22", timeout=60)[0] == 0


def status(key: str) -> object:
    """What the guard says of itself."""
    found = json.loads(appliance.succeed("cat /run/ephyr-netguard/status.json"))
    assert isinstance(found, dict)
    return found[key]


def alerts() -> list[str]:
    """What the guard's log has at level alert."""
    return appliance.succeed(f"journalctl --no-pager -o cat -p alert -u {UNIT}").splitlines()


with subtest("a table that nobody touched is as the policy says"):
    appliance.succeed("ephyr-netguard check")
    t.assertFalse(free())
    t.assertTrue(status("in_force"))
    t.assertEqual(alerts(), [])
    t.assertEqual(status("repairs"), 0)

with subtest("each change is seen by `check`, undone by the guard, and raises an alert"):
    for done, (command, named, opens) in enumerate(TAMPERINGS, 1):
        # Held up, the guard leaves time to look.
        appliance.succeed(f"systemctl kill --signal=STOP {UNIT}; {command}")
        t.assertIn(named, exits(appliance, "ephyr-netguard check 2>&1", 1), command)
        t.assertEqual(free(), opens, command)
        appliance.succeed(f"systemctl kill --signal=CONT {UNIT}")
        wait_for_table(appliance)
        t.assertFalse(free(), command)
        t.assertEqual(len(alerts()), done, command)
        t.assertIn("someone changed the table inet ephyr; it is restored", alerts()[-1])

with subtest("so it is when the guard runs all the time"):
    for command in ("nft flush ruleset", "nft insert rule inet ephyr output accept"):
        appliance.succeed(command)
        wait_for_table(appliance)
        t.assertFalse(free())
    t.assertTrue(status("in_force"))
    t.assertEqual(status("repairs"), len(TAMPERINGS) + 2)

with subtest("another table is left alone, and is no reason for an alert"):
    before = len(alerts())
    appliance.succeed("nft add table inet mine; nft add chain inet mine output '{ type filter hook output priority 0; }'")
    appliance.succeed("ephyr-netguard check")
    # The guard looks whenever anything changes; the next look is seen by its time.
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

# topology: site
# core: yes
"""From power-on, nothing of an agent runs before its firewall is up."""

# The scenario itself switches the appliance off and on: the counting machine must be awake before its first packet.
start_all()
wait_for_appliance(appliance)
RECEIVERS = [outside, web]
count_packets(appliance, RECEIVERS, egress="ip daddr 192.168.1.9 tcp dport 8080")


def microseconds(unit: str, moment: str) -> int:
    """The time of a unit's event, since the kernel's start."""
    when = int(appliance.get_unit_property(unit, f"{moment}Monotonic"))
    t.assertGreater(when, 0, f"{unit} {moment}")
    return when


# The setting of `count_packets`, kept after a boot; where the directory is read-only, systems have this setting anyway.
appliance.succeed("! test -w /etc/sysctl.d || echo 'net.ipv4.ping_group_range = 0 2147483647' > /etc/sysctl.d/99-ping.conf")
put_first_work(appliance, outside)
power_cycle(appliance, RECEIVERS)

with subtest("agents that send from their first instant: nothing arrives but what the policy lets through"):
    for done in FIRST_DONE.values():
        appliance.wait_for_file(done, timeout=180)
        t.assertEqual(appliance.succeed(f"grep -c sent {done}"), "3\n")
    t.assertEqual(arrived(appliance, RECEIVERS), {"egress"})
    arrives(appliance, RECEIVERS, set(PACKETS), lambda: appliance.succeed(f"runuser -u nobody -- {put_sender(appliance)}"))

with subtest("the firewall was up before the network, before logins and cron, and before every agent"):
    up = microseconds("ephyr-netguard.service", "ActiveEnterTimestamp")
    for agent in FIRST_DONE:
        t.assertLess(up, microseconds(f"ephyr-agent-{agent}.service", "ExecMainStartTimestamp"), agent)
    for unit in ("network-pre.target", "systemd-user-sessions.service", "cron.service", "ssh.service"):
        t.assertLess(up, microseconds(unit, "InactiveExitTimestamp"), unit)

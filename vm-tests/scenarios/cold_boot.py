# topology: site
# limit: 900
"""From power-on, nothing of an agent runs before its firewall is up."""

# The appliance is switched off and on in here: the machine that counts is awake before it, and counts from its first packet on.
start_all()
wait_for_appliance(appliance)
RECEIVERS = [outside, web]
count_packets(appliance, RECEIVERS, egress="ip daddr 192.168.1.9 tcp dport 8080")
outside.succeed("systemd-run --quiet nc -lk 8080")
UNITS = ("ephyr-agent-worker.service", "ephyr-agent-caller.service")
SCRIPT = "/usr/local/lib/vm/send.py"
#: What both agents' units do first of all, once they run.
FIRST = f"for n in 1 2 3; do python3 {SCRIPT}; nc -z -w 2 192.168.1.9 8080 && echo through; done"


def power_cycle() -> None:
    """As when the power fails, and comes back."""
    arrived(appliance, RECEIVERS)
    appliance.succeed("sync")
    appliance.crash()
    appliance.start()
    appliance.wait_for_unit("multi-user.target")


def microseconds(unit: str, moment: str) -> int:
    """When something of a unit was, since the kernel's start."""
    when = int(appliance.get_unit_property(unit, f"{moment}Monotonic"))
    t.assertGreater(when, 0, f"{unit} {moment}")
    return when


def put_first_work() -> None:
    for agent in ("worker", "caller"):
        home = f"/var/lib/ephyr-agents/{agent}"
        appliance.succeed(
            f"rm -f {home}/out/first*; printf %s {shlex.quote(FIRST)} > {home}/first; "
            f"chown ephyr-agent-{agent} {home}/first; systemctl stop ephyr-agent-{agent}.service; mv {home}/first {home}/in/first"
        )


# As `count_packets` has it, after a boot too; where the directory cannot be written, systems have it of themselves.
appliance.succeed("! test -w /etc/sysctl.d || echo 'net.ipv4.ping_group_range = 0 2147483647' > /etc/sysctl.d/99-ping.conf")
appliance.succeed(f"install -d /usr/local/lib/vm; printf %s {shlex.quote(SEND)} > {SCRIPT}")
put_first_work()
power_cycle()

with subtest("agents that send from their first instant: nothing arrives but what the policy lets through"):
    for agent in ("worker", "caller"):
        appliance.wait_for_file(f"/var/lib/ephyr-agents/{agent}/out/first", timeout=180)
    t.assertEqual(appliance.succeed("grep -c sent /var/lib/ephyr-agents/*/out/first -h"), "3\n3\n")
    t.assertEqual(arrived(appliance, RECEIVERS), {"egress"})
    arrives(appliance, RECEIVERS, set(PACKETS), lambda: appliance.succeed(f"runuser -u nobody -- python3 {SCRIPT}"))

with subtest("the firewall was up before the network, before logins and cron, and before every agent"):
    up = microseconds("ephyr-netguard.service", "ActiveEnterTimestamp")
    for unit in UNITS:
        t.assertLess(up, microseconds(unit, "ExecMainStartTimestamp"), unit)
    for unit in ("network-pre.target", "systemd-user-sessions.service", "cron.service", "ssh.service"):
        t.assertLess(up, microseconds(unit, "InactiveExitTimestamp"), unit)

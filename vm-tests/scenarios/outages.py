# topology: site
"""While the signer or a target is down or hangs, callers get an answer in time, and everything works afterwards."""

start_all()
wait_for_appliance(appliance)
RUN = exec_as("scout", "web", "read", "id -un")
t.assertEqual(runs(appliance, RUN), "agent-read\n")

with subtest("signer down: refused with an answer, and the broker stays"):
    broker = appliance.get_unit_property("ephyr-broker.service", "MainPID")
    appliance.succeed("systemctl stop ephyr-signer.service ephyr-signer.socket")
    status, output = appliance.execute(RUN, timeout=90)
    t.assertIn(status, (69, 75), output)
    t.assertEqual(appliance.get_unit_property("ephyr-broker.service", "MainPID"), broker)
    appliance.succeed("systemctl start ephyr-signer.socket ephyr-signer.service")
    appliance.wait_until_succeeds(RUN, timeout=120)

with subtest("target refuses connections: says so at once"):
    web.succeed("systemctl stop ssh.service")
    t.assertIn("web", exits(appliance, RUN, 69))
    web.succeed("systemctl start ssh.service")
    appliance.wait_until_succeeds(RUN, timeout=120)

with subtest("target hangs: a connection that says nothing ends in time, and others are served meanwhile"):
    web.succeed("systemctl stop ssh.service; systemd-run --unit=hang --quiet nc -lk 22")
    web.wait_for_open_port(22)
    # Two loops of sequential requests, so that nearly always one hangs.
    for number in (1, 2):
        loop = f"while :; do {RUN} >> /run/hung-{number}; echo $? >> /run/hung-{number}; done"
        appliance.succeed(f"systemd-run --quiet --unit=hung-{number} bash -c {shlex.quote(loop)}")
    hangs = "ss -Htn state established dst 192.168.1.2 dport = 22 | grep -q ."
    t.assertIn("web", appliance.wait_until_succeeds(f"{hangs}; {as_agent('worker', 'ephyr targets')}; {hangs}", timeout=120))
    appliance.wait_until_succeeds("grep -qx 69 /run/hung-1 && grep -qx 69 /run/hung-2", timeout=120)
    t.assertEqual(set(appliance.succeed("grep -hx '[0-9]*' /run/hung-*").split()), {"69"})
    appliance.succeed("grep -q 'no answer within 10 s' /run/hung-1; systemctl stop hung-1.service hung-2.service")
    web.succeed("systemctl stop hang.service; systemctl start ssh.service")
    appliance.wait_until_succeeds(RUN, timeout=120)

# The appliance is cut off from the target, while a command runs there.
CUT_OFF = "pgrep -f '^cut-off 100000'"
appliance.succeed(
    "systemd-run --quiet --unit=cut --uid=ephyr-agent-worker --property=RemainAfterExit=yes "
    "ephyr exec web --role operate --timeout 300 -- 'exec -a cut-off sleep 100000'"
)
web.wait_until_succeeds(CUT_OFF, timeout=120)
appliance.block()

with subtest("target down: says so, in time"):
    status, output = appliance.execute(RUN, timeout=90)
    t.assertEqual(status, 69, output)
    t.assertIn("`web`", output)

with subtest("a command whose network fails ends on the target, too"):
    web.wait_until_fails(CUT_OFF, timeout=250)
    # Not because of its own timeout.
    t.assertIn("client not responding from user agent-operate", journal(web, ""))
    appliance.unblock()
    appliance.wait_until_succeeds(RUN, timeout=300)

# topology: site
"""Without the signer, or a target, or with one that hangs, callers get an answer in time, and all is well afterwards."""

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

with subtest("target down: says so, in time"):
    web.block()
    status, output = appliance.execute(RUN, timeout=90)
    t.assertEqual(status, 69, output)
    t.assertIn("`web`", output)
    web.unblock()
    appliance.wait_until_succeeds(RUN, timeout=120)

with subtest("target refuses connections: says so at once"):
    web.succeed("systemctl stop ssh.service")
    t.assertIn("web", exits(appliance, RUN, 69))
    web.succeed("systemctl start ssh.service")
    appliance.wait_until_succeeds(RUN, timeout=120)

with subtest("target hangs: a connection that says nothing ends in time, and others are served meanwhile"):
    web.succeed("systemctl stop ssh.service; systemd-run --unit=hang --quiet nc -lk 22")
    web.wait_for_open_port(22)
    # One after the other, so that there is always one that hangs.
    appliance.succeed(
        f"systemd-run --quiet --unit=hung bash -c {shlex.quote(f'while :; do {RUN} >> /run/hung; echo $? >> /run/hung; done')}"
    )
    hangs = "ss -Htn state established dst 192.168.1.2 dport = 22 | grep -q ."
    appliance.wait_until_succeeds(hangs, timeout=60)
    t.assertIn("web", appliance.succeed(f"{as_agent('worker', 'ephyr targets')}; {hangs}"))
    appliance.wait_until_succeeds("grep -qx 69 /run/hung", timeout=120)
    t.assertEqual(set(appliance.succeed("grep -x '[0-9]*' /run/hung").split()), {"69"})
    appliance.succeed("grep -q 'no answer within 10 s' /run/hung; systemctl stop hung.service")
    web.succeed("systemctl stop hang.service; systemctl start ssh.service")
    appliance.wait_until_succeeds(RUN, timeout=120)

with subtest("a command whose network fails ends on the target, too"):
    appliance.succeed(
        "systemd-run --quiet --unit=cut --uid=ephyr-agent-worker --property=RemainAfterExit=yes "
        "ephyr exec web --role operate --timeout 300 -- 'exec -a cut-off sleep 1000'"
    )
    web.wait_until_succeeds("pgrep -f '^cut-off 1000'", timeout=120)
    appliance.block()
    web.wait_until_fails("pgrep -f '^cut-off 1000'", timeout=150)
    appliance.unblock()
    appliance.wait_until_succeeds(RUN, timeout=300)

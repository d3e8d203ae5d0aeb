# topology: site
"""Without the signer, or a target, or with one that hangs, callers get an answer in time, and all is well afterwards."""

start_all()
wait_for_appliance(appliance)
RUN = exec_as("scout", "web", "read", "id -un")
t.assertEqual(appliance.succeed(RUN), "agent-read\n")

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
    appliance.succeed(
        "systemd-run --quiet --unit=hung --uid=ephyr-agent-scout --property=RemainAfterExit=yes "
        "ephyr exec web --role read -- 'id -un'"
    )
    appliance.succeed(as_agent("worker", "timeout 10 ephyr targets"))
    appliance.wait_until_succeeds("systemctl show -P SubState hung | grep -v running", timeout=120)
    t.assertEqual(appliance.get_unit_property("hung.service", "ExecMainStatus"), "69")
    web.succeed("systemctl stop hang.service; systemctl start ssh.service")
    appliance.wait_until_succeeds(RUN, timeout=120)

with subtest("a command whose network fails ends on the target, too"):
    appliance.succeed(
        "systemd-run --quiet --unit=cut --uid=ephyr-agent-worker --property=RemainAfterExit=yes "
        "ephyr exec web --role operate --timeout 300 -- 'exec -a cut-off sleep 1000'"
    )
    web.wait_until_succeeds("pgrep -f '^cut-off 1000'", timeout=120)
    appliance.block()
    web.wait_until_fails("pgrep -f '^cut-off 1000'", timeout=300)
    appliance.unblock()
    appliance.wait_until_succeeds(RUN, timeout=300)

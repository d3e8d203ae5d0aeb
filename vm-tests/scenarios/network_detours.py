# topology: site
# only: debian
"""Helpers that start programs (user managers, cron, user namespaces) let no packet of an agent out; set-user-ID programs are stopped by the unit alone."""

start_all()
wait_for_appliance(appliance)
RECEIVERS = [outside, web]
#: Marks by which packets are identified, independently of when they arrive.
MARK = 31600
count_packets(appliance, RECEIVERS, **marked(MARK))
ALL = set(PACKETS)
appliance.succeed(
    # An ordinary user with a range of sub-UIDs.
    "useradd --uid 1600 --create-home someone; grep -q ^someone: /etc/subuid"
)
PROGRAM = put_sender(appliance)
AGENT, OTHER = "ephyr-agent-worker", "someone"


def send(user: str, command: str) -> None:
    """A user runs a command that ends by sending."""
    t.assertIn("sent", appliance.succeed(f"cd /; runuser -u {user} -- {command}", timeout=120), command)


arrived(appliance, RECEIVERS)

with subtest("in a user namespace an agent is root, and its packets are still the agent's"):
    send(AGENT, f"unshare --user --map-root-user {PROGRAM}")
    t.assertEqual(arrived(appliance, RECEIVERS), set())
    arrives(appliance, RECEIVERS, ALL, lambda: send(OTHER, f"unshare --user --map-root-user {PROGRAM}"))

with subtest("newuidmap gives an agent no other user id, for it has no range of them"):
    appliance.fail(f"grep -E '^({AGENT}|1502):' /etc/subuid /etc/subgid")
    command = f"unshare --user --map-auto --map-root-user setpriv --reuid=1 --clear-groups {PROGRAM}"
    appliance.fail(f"cd /; runuser -u {AGENT} -- {command}")
    t.assertEqual(arrived(appliance, RECEIVERS), set())
    # It is sent by a user id that no rule names, as an agent with such a range could do.
    arrives(appliance, RECEIVERS, ALL, lambda: send(OTHER, command))

with subtest("a user's own service manager starts processes of that user"):


    def send_by_manager(user: str, uid: int) -> None:
        # Without the user's D-Bus, waiting for its units is not possible.
        run = f"systemd-run --user --quiet --property=StandardOutput=file:/tmp/sent-{uid} {PROGRAM}"
        appliance.succeed(
            f"rm -f /tmp/sent-{uid}; systemctl start user@{uid}.service; runuser -u {user} -- env XDG_RUNTIME_DIR=/run/user/{uid} {run}"
        )
        appliance.wait_until_succeeds(f"grep 'sent {uid}' /tmp/sent-{uid}", timeout=60)

    send_by_manager(AGENT, 1502)
    t.assertEqual(arrived(appliance, RECEIVERS), set())
    arrives(appliance, RECEIVERS, ALL, lambda: send_by_manager(OTHER, 1600))
    status, output = in_unit(appliance, "worker", f"XDG_RUNTIME_DIR=/run/user/1502 systemd-run --user --quiet {PROGRAM}")
    t.assertNotEqual(status, 0, output)

with subtest("the system's manager starts nothing for an agent"):
    start = f"systemd-run --no-ask-password --quiet --wait --pipe {PROGRAM}"
    appliance.fail(f"runuser -u {AGENT} -- {start}")
    t.assertEqual(arrived(appliance, RECEIVERS), set())
    arrives(appliance, RECEIVERS, ALL, lambda: t.assertIn("sent 0", appliance.succeed(start)))

with subtest("cron's jobs are of the user who asked for them, and a unit has no way to ask"):
    for user, words in ((AGENT, ""), (OTHER, MARK)):
        appliance.succeed(
            f"printf '%s\\n' '* * * * * {PROGRAM} {words} > /tmp/cron-{user} 2>&1' > /run/job; runuser -u {user} -- crontab - < /run/job"
        )
    status, output = in_unit(appliance, "worker", "echo '* * * * * true' | crontab -")
    t.assertNotEqual(status, 0, output)
    t.assertEqual(arrived(appliance, RECEIVERS), set())
    # The next minute is near; cron computes its schedule when it starts.
    appliance.succeed("date -s @$(( $(date +%s) / 60 * 60 + 57 )); systemctl restart cron.service")
    seen: set[str] = set()

    def both_have_sent(_last: bool) -> bool:
        done = f"grep -q 'sent 1502' /tmp/cron-{AGENT} && grep -q 'sent 1600' /tmp/cron-{OTHER}"
        status, _ = appliance.execute(f"for n in $(seq 100); do {done} && exit; sleep 0.5; done; exit 1")
        seen.update(arrived(appliance, RECEIVERS))
        return status == 0 and seen >= set(marked(MARK))

    # Both jobs run every minute: the other user's packets are identified by their mark.
    retry(both_have_sent, 300)
    appliance.succeed(f"systemctl stop cron.service; crontab -r -u {AGENT}; crontab -r -u {OTHER}")
    # Jobs that cron started continue without it.
    appliance.wait_until_fails("pgrep -f '^/usr/sbin/CRON|vm/[s]end.py'", timeout=120)
    seen |= arrived(appliance, RECEIVERS)
    t.assertEqual(seen, set(marked(MARK)))

with subtest("a set-user-ID program is stopped by the unit, and by nothing outside of it"):
    # Any set-user-ID interpreter would do; bash keeps its privileges with -p.
    appliance.succeed("install -m 4755 /bin/bash /usr/local/lib/vm/lends")
    command = f"/usr/local/lib/vm/lends -p -c '{PROGRAM}'"
    status, output = in_unit(appliance, "worker", command)
    t.assertEqual(status, 0, output)
    t.assertIn("sent 1502", output)
    t.assertEqual(arrived(appliance, RECEIVERS), set())
    # docs/network.md: a process of the agent outside its unit is confined by the table alone.
    lent = f"cd /; runuser -u {AGENT} -- {command}"
    arrives(appliance, RECEIVERS, ALL, lambda: t.assertIn("sent 0", appliance.succeed(lent)))

with subtest("the programs with that bit that are there lend an agent nothing"):
    found = appliance.succeed("find / -xdev -perm -4000 -type f -not -path '/usr/local/lib/vm/*' 2>/dev/null").split()
    t.assertIn("/usr/bin/su", found)
    t.assertIn("/usr/bin/sudo", found)
    appliance.fail(f"cd /; runuser -u {AGENT} -- sudo -n {PROGRAM} < /dev/null")
    t.assertEqual(arrived(appliance, RECEIVERS), set())
    appliance.succeed("echo 'someone ALL=(root) NOPASSWD: ALL' > /etc/sudoers.d/someone")
    arrives(appliance, RECEIVERS, ALL, lambda: send(OTHER, f"sudo -n {PROGRAM}"))
    appliance.fail(f"cd /; runuser -u {AGENT} -- su -c '{PROGRAM}' someone < /dev/null")
    appliance.fail(f"cd /; runuser -u {AGENT} -- ping -c 1 -W 2 192.168.1.9")
    t.assertEqual(arrived(appliance, RECEIVERS), set())
    arrives(appliance, RECEIVERS, {"ping"}, lambda: appliance.wait_until_succeeds(f"cd /; runuser -u {OTHER} -- ping -c 1 -W 5 192.168.1.9", timeout=60))

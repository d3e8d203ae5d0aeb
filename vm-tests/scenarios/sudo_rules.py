# topology: site
# only: debian
"""sudo gives a role's account exactly the commands that the policy lists, with their arguments, as root; other roles get none."""

start_all()
wait_for_appliance(appliance)
LISTED = "/usr/bin/systemctl restart cron.service"
#: Commands that differ from the listed one, by a little or by much.
OTHERS = [
    "sudo -n /usr/bin/id",
    "sudo -n /bin/sh -c id",
    "sudo -n /usr/bin/systemctl restart ssh.service",
    "sudo -n /usr/bin/systemctl stop cron.service",
    "sudo -n /usr/bin/systemctl restart cron.service ssh.service",
    "sudo -n /usr/bin/systemctl restart",
    "sudo -n -u ops /usr/bin/systemctl restart cron.service",
    "sudo -n LD_PRELOAD=/tmp/x /usr/bin/systemctl restart cron.service",
    "sudo -n -i",
]


def runs_of(unit: str) -> str:
    """The invocation id of a unit."""
    return web.get_unit_property(unit, "InvocationID")


def restarts_cron() -> None:
    """The listed command takes effect."""
    before = runs_of("cron.service")
    runs(appliance, exec_as("worker", "web", "operate", f"sudo -n {LISTED}"))
    t.assertNotEqual(runs_of("cron.service"), before)


with subtest("the command that is listed runs as root"):
    restarts_cron()

with subtest("no other command, argument, user or environment does"):
    before = (runs_of("cron.service"), runs_of("ssh.service"))
    # All in one command, since each would be a login of its own.
    every = "; ".join(f"{command} && echo let through: {shlex.quote(command)}" for command in OTHERS)
    output = exits(appliance, exec_as("worker", "web", "operate", f"{every}; exit 3"), 3)
    t.assertNotIn("let through", output)
    t.assertEqual(output.count("sudo: "), len(OTHERS), output)
    t.assertEqual((runs_of("cron.service"), runs_of("ssh.service")), before)
    restarts_cron()

with subtest("a role without rules has none"):
    web.fail(f"runuser -u agent-read -- sudo -n {LISTED} < /dev/null")
    web.succeed(f"runuser -u agent-operate -- sudo -n {LISTED} < /dev/null")

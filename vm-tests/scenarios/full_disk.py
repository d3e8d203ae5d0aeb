# topology: site
"""With a full disk nothing is signed and nothing runs; when there is room again, everything does."""

start_all()
wait_for_appliance(appliance)
t.assertEqual(runs(appliance, exec_as("scout", "web", "read", "id -un")), "agent-read\n")


def small(directory: str, unit: str) -> None:
    """Puts a small file system under a daemon's directory, with what is there."""
    appliance.succeed(
        f"systemctl stop {unit}.service; cp -a {directory} /root/kept; mount -t tmpfs -o size=2M,mode=755 small {directory}; "
        f"cp -a /root/kept/. {directory}/; chown --reference=/root/kept {directory}; rm -r /root/kept; "
        f"systemctl start {unit}.service"
    )
    wait_for_appliance(appliance)


def until_refused(command: str) -> None:
    """Asks until the answer is no; that the target was too slow is none."""
    retry(lambda _last: answered(appliance, command)[0] != 0, 180)


with subtest("the signer does not sign what it cannot write down"):
    small("/var/lib/ephyr-signer", "ephyr-signer")
    t.assertEqual(runs(appliance, exec_as("scout", "web", "read", "id -un")), "agent-read\n")
    appliance.execute("head -c 4M /dev/zero > /var/lib/ephyr-signer/filler")
    # What is left of the journal's last page is used up first.
    until_refused(exec_as("scout", "web", "read", "id -un"))
    count_logins(web)
    appliance.fail(exec_as("scout", "web", "read", "id -un"))
    t.assertEqual(logins_begun(web), 0)
    appliance.succeed("rm /var/lib/ephyr-signer/filler")
    appliance.wait_until_succeeds(exec_as("scout", "web", "read", "id -un"), timeout=120)
    t.assertGreater(logins_begun(web), 0)

with subtest("the broker does nothing that it cannot record"):
    small("/var/log/ephyr", "ephyr-broker")
    t.assertEqual(runs(appliance, exec_as("worker", "web", "operate", "touch /tmp/before; id -un")), "agent-operate\n")
    appliance.execute("head -c 4M /dev/zero > /var/log/ephyr/filler")
    until_refused(exec_as("worker", "web", "operate", "true"))
    appliance.fail(exec_as("worker", "web", "operate", "touch /tmp/while-full"))
    web.fail("test -e /tmp/while-full")
    web.succeed("test -e /tmp/before")
    appliance.succeed("rm /var/log/ephyr/filler")
    appliance.wait_until_succeeds(exec_as("worker", "web", "operate", "touch /tmp/after"), timeout=120)
    web.succeed("test -e /tmp/after")

with subtest("the log is whole"):
    log_is_whole(appliance)

# topology: site
"""With a full disk nothing is signed and nothing runs; when there is room again, everything does."""

start_all()
wait_for_appliance(appliance)
t.assertEqual(runs(appliance, exec_as("scout", "web", "read", "id -un")), "agent-read\n")


def small(directory: str, unit: str) -> None:
    """Mounts a small file system over a daemon's directory, with its files."""
    appliance.succeed(
        f"systemctl stop {unit}.service; cp -a {directory} /root/kept; mount -t tmpfs -o size=2M,mode=755 small {directory}; "
        f"cp -a /root/kept/. {directory}/; chown --reference=/root/kept {directory}; rm -r /root/kept; "
        f"systemctl start {unit}.service"
    )
    wait_for_appliance(appliance)


def refused(command: str) -> bool:
    """Returns whether the answer says that the disk is full."""
    status, output = answered(appliance, command)
    return status == 75 and "No space left on device" in output


with subtest("the signer does not sign what it cannot write down"):
    small("/var/lib/ephyr-signer", "ephyr-signer")
    t.assertEqual(runs(appliance, exec_as("scout", "web", "read", "id -un")), "agent-read\n")
    appliance.execute("head -c 4M /dev/zero > /var/lib/ephyr-signer/filler")
    # The rest of the journal's last page is used first.
    retry(lambda _last: refused(exec_as("scout", "web", "read", "id -un")), 180)
    t.assertTrue(refused(exec_as("worker", "web", "operate", "touch /tmp/unsigned")))
    web.fail("test -e /tmp/unsigned")
    appliance.succeed("rm /var/lib/ephyr-signer/filler")
    appliance.wait_until_succeeds(exec_as("worker", "web", "operate", "touch /tmp/signed"), timeout=120)
    web.succeed("test -e /tmp/signed")

with subtest("the broker does nothing that it cannot record"):
    small("/var/log/ephyr", "ephyr-broker")
    t.assertEqual(runs(appliance, exec_as("worker", "web", "operate", "touch /tmp/before; id -un")), "agent-operate\n")
    appliance.execute("head -c 4M /dev/zero > /var/log/ephyr/filler")
    retry(lambda _last: refused(exec_as("worker", "web", "operate", "true")), 180)
    t.assertTrue(refused(exec_as("worker", "web", "operate", "touch /tmp/while-full")))
    web.fail("test -e /tmp/while-full")
    web.succeed("test -e /tmp/before")
    appliance.succeed("rm /var/log/ephyr/filler")
    appliance.wait_until_succeeds(exec_as("worker", "web", "operate", "touch /tmp/after"), timeout=120)
    web.succeed("test -e /tmp/after")

with subtest("the log is whole"):
    log_is_whole(appliance)

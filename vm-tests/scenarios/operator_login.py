# topology: site
# only: debian
"""The operator's own SSH login to a target works before, during and after Ephyr, and Ephyr's certificates do not open it."""

start_all()
wait_for_appliance(appliance)
know_host(outside, "web", "192.168.1.2")
LOGIN = f"{SSH} -i {KEYS}/operator ops@192.168.1.2 'id -un'"


def is_refused(key: str, account: str) -> None:
    """sshd refuses a login, as opposed to being unreachable."""
    t.assertIn("Permission denied", outside.fail(f"{SSH} -i {key} {account}@192.168.1.2 'id -un' 2>&1"))


def set_up_again(script: str) -> None:
    """Runs one of Ephyr's scripts on the target. sshd reloads asynchronously and accepts no connections meanwhile."""
    web.succeed(f"bash /root/ephyr-target/{script}")
    outside.wait_until_succeeds(LOGIN, timeout=60)


with subtest("with Ephyr set up on the target"):
    t.assertEqual(outside.succeed(LOGIN), "ops\n")
    t.assertEqual(runs(appliance, exec_as("scout", "web", "read", "id -un")), "agent-read\n")

with subtest("the operator's key opens no role, and a role's certificate not the operator's account"):
    is_refused(f"{KEYS}/operator", "agent-operate")
    make_certificate(outside, "web/operate,ops")
    t.assertEqual(outside.succeed(f"{SSH} -i /root/key agent-operate@192.168.1.2 'id -un'"), "agent-operate\n")
    is_refused("/root/key", "ops")

with subtest("with Match blocks of the operator's own before and after what Ephyr has put there"):
    web.succeed(
        "printf '%s\\n' 'Match User ops' '    SetEnv WHERE=before' > /etc/ssh/sshd_config.d/10-operator.conf; "
        # For all users without an earlier matching block.
        "printf '%s\\n' 'Match all' '    ForceCommand echo $WHERE; id -un' >> /etc/ssh/sshd_config; "
        "sshd -t; systemctl restart ssh.service"
    )
    t.assertEqual(outside.succeed(LOGIN), "before\nops\n")
    t.assertEqual(runs(appliance, exec_as("scout", "web", "read", "cat /proc/sys/kernel/hostname")), "web\n")
    set_up_again("install.sh")
    t.assertEqual(outside.succeed(LOGIN), "before\nops\n")
    web.succeed("rm /etc/ssh/sshd_config.d/10-operator.conf; sed -i '/^Match all$/,$d' /etc/ssh/sshd_config; systemctl restart ssh.service")
    t.assertEqual(outside.succeed(LOGIN), "ops\n")

with subtest("while the target is set up once more"):
    set_up_again("install.sh")
    t.assertEqual(outside.succeed(LOGIN), "ops\n")
    t.assertEqual(runs(appliance, exec_as("scout", "web", "read", "id -un")), "agent-read\n")

with subtest("after Ephyr has been taken off the target"):
    set_up_again("uninstall.sh")
    t.assertEqual(outside.succeed(LOGIN), "ops\n")
    make_certificate(outside, "web/operate")
    is_refused("/root/key", "agent-operate")
    exits(appliance, exec_as("scout", "web", "read", "id -un"), 69)

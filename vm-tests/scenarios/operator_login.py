# topology: site
# only: debian
"""The operator's own SSH login to a target works before, during and after Ephyr, and Ephyr's certificates do not open it."""

start_all()
wait_for_appliance(appliance)
know_host(outside, "web", "192.168.1.2")
LOGIN = f"{SSH} -i {KEYS}/operator ops@192.168.1.2 'id -un'"

with subtest("with Ephyr set up on the target"):
    t.assertEqual(outside.succeed(LOGIN), "ops\n")
    t.assertEqual(runs(appliance, exec_as("scout", "web", "read", "id -un")), "agent-read\n")

with subtest("the operator's key opens no role, and a role's certificate not the operator's account"):
    outside.fail(f"{SSH} -i {KEYS}/operator agent-operate@192.168.1.2 'id -un'")
    make_certificate(outside, "web/operate,ops")
    t.assertEqual(outside.succeed(f"{SSH} -i /root/key agent-operate@192.168.1.2 'id -un'"), "agent-operate\n")
    outside.fail(f"{SSH} -i /root/key ops@192.168.1.2 'id -un'")

with subtest("with Match blocks of the operator's own before and after what Ephyr has put there"):
    web.succeed(
        "printf '%s\\n' 'Match User ops' '    SetEnv WHERE=before' > /etc/ssh/sshd_config.d/10-operator.conf; "
        # For everyone whom no block before has told otherwise.
        "printf '%s\\n' 'Match all' '    ForceCommand echo $WHERE; id -un' >> /etc/ssh/sshd_config; "
        "sshd -t; systemctl reload ssh.service"
    )
    t.assertEqual(outside.succeed(LOGIN), "before\nops\n")
    t.assertEqual(runs(appliance, exec_as("scout", "web", "read", "cat /proc/sys/kernel/hostname")), "web\n")
    web.succeed("bash /root/ephyr-target/install.sh")
    t.assertEqual(outside.succeed(LOGIN), "before\nops\n")
    web.succeed("rm /etc/ssh/sshd_config.d/10-operator.conf; sed -i '/^Match all$/,$d' /etc/ssh/sshd_config; systemctl reload ssh.service")
    t.assertEqual(outside.succeed(LOGIN), "ops\n")

with subtest("while the target is set up once more"):
    web.succeed("bash /root/ephyr-target/install.sh")
    t.assertEqual(outside.succeed(LOGIN), "ops\n")
    t.assertEqual(runs(appliance, exec_as("scout", "web", "read", "id -un")), "agent-read\n")

with subtest("after Ephyr has been taken off the target"):
    web.succeed("bash /root/ephyr-target/uninstall.sh")
    t.assertEqual(outside.succeed(LOGIN), "ops\n")
    make_certificate(outside, "web/operate")
    outside.fail(f"{SSH} -i /root/key agent-operate@192.168.1.2 'id -un'")
    exits(appliance, exec_as("scout", "web", "read", "id -un"), 69)

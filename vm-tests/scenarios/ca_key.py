# topology: site
"""The broker's user, with a shell, reads neither the CA key nor anything else of the signer; the signer works with it."""

start_all()
wait_for_appliance(appliance)
BROKER = "runuser -u ephyr-broker -- "

with subtest("the key is in no file that the broker's user can read"):
    appliance.succeed("test -s /etc/ephyr/ca_key")
    appliance.fail(f"{BROKER}cat /etc/ephyr/ca_key")
    appliance.fail(f"{BROKER}ls /var/lib/ephyr-signer")
    appliance.fail(f"{BROKER}cat /run/credentials/ephyr-signer.service/ca_key")
    appliance.succeed("test -s /run/credentials/ephyr-signer.service/ca_key")
    body = appliance.succeed("sed -n 2p /etc/ephyr/ca_key").strip()
    found = appliance.execute(
        f"{BROKER}grep -rlsF -- {shlex.quote(body[:40])} /etc /run /var /tmp /home /opt /srv", timeout=300
    )[1]
    t.assertEqual(found, "")
    t.assertEqual(appliance.succeed(f"grep -rlsF -- {shlex.quote(body[:40])} /etc/ephyr"), "/etc/ephyr/ca_key\n")

with subtest("the signer's memory is closed, even to who may trace its own user"):
    pid = appliance.get_unit_property("ephyr-signer.service", "MainPID")
    for user in ("ephyr-broker", "ephyr-signer"):
        appliance.fail(f"runuser -u {user} -- head -c 1 /proc/{pid}/environ")
        appliance.fail(f"runuser -u {user} -- cat /proc/{pid}/maps")
        appliance.fail(f"runuser -u {user} -- dd if=/proc/{pid}/mem bs=1 count=1")
    t.assertIn("r-xp", appliance.succeed("cat /proc/self/maps"))

with subtest("the broker's user can stop neither and become nobody else"):
    appliance.fail(f"{BROKER}kill -TERM {pid}")
    appliance.fail(f"{BROKER}systemctl --no-ask-password stop ephyr-signer.service")
    appliance.fail(f"{BROKER}sudo -n true < /dev/null")
    appliance.require_unit_state("ephyr-signer.service")

with subtest("with all that, the signer signs"):
    t.assertEqual(appliance.succeed(exec_as("scout", "web", "read", "id -un")), "agent-read\n")

# topology: site
# core: yes
"""An agent's command runs on the target as the role's account, and sshd's log names the certificate."""

start_all()
wait_for_appliance(appliance)

with subtest("the command runs as the role's account, on the target"):
    t.assertEqual(runs(appliance, exec_as("scout", "web", "read", "id -un")), "agent-read\n")
    t.assertEqual(runs(appliance, exec_as("scout", "web", "read", "cat /proc/sys/kernel/hostname")), "web\n")
    t.assertEqual(runs(appliance, exec_as("worker", "web", "operate", "id -un")), "agent-operate\n")
    t.assertEqual(exits(appliance, exec_as("worker", "web", "operate", "exit 7"), 7), "")

with subtest("sshd names the key id and the serial that the signer has recorded"):
    entries = appliance.succeed("cat /var/lib/ephyr-signer/journal").splitlines()
    issued = [entry for entry in map(json.loads, entries) if entry["event"] == "issued"]
    log = [line for line in journal(web, "").splitlines() if "Accepted publickey for agent-" in line]
    # A certificate whose target was too slow is in the journal only; each login has one.
    for line in log:
        entry = next(one for one in issued if one["serial"] in line or str(int(one["serial"], 16)) in line)
        t.assertIn("ED25519-CERT", line)
        t.assertIn(f"ID ephyr:{entry['agent']}@{entry['target']}/{entry['role']}:", line)
        t.assertIn(f"Accepted publickey for agent-{entry['role']} from 192.168.1.1 ", line)
    t.assertGreaterEqual(len(log), 4)

with subtest("what is not granted does not reach the target"):
    count_logins(web)
    t.assertIn("has no role `operate`", exits(appliance, exec_as("scout", "web", "operate", "id -un"), 77))
    t.assertIn("step 3", exits(appliance, exec_as("scout", "web", "read", "id"), 77))
    t.assertIn("step 3", exits(appliance, exec_as("scout", "db", "read", "id -un"), 77))
    t.assertEqual(logins_begun(web), 0)
    runs(appliance, exec_as("scout", "web", "read", "id -un"))
    t.assertGreater(logins_begun(web), 0)

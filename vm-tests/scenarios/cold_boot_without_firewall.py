# topology: site
# only: debian
"""While the firewall does not come up, no agent's unit starts; once it does, they start too."""

# The scenario itself switches the appliance off and on: the counting machine must be awake before its first packet.
start_all()
wait_for_appliance(appliance)
RECEIVERS = [outside, web]
count_packets(appliance, RECEIVERS, egress="ip daddr 192.168.1.9 tcp dport 8080")
NFT = appliance.succeed("readlink -f $(command -v nft)").strip()

with subtest("without nft there is no firewall, and no agent's unit starts"):
    put_first_work(appliance, outside)
    appliance.succeed(f"chmod 0 {NFT}")
    power_cycle(appliance, RECEIVERS)
    appliance.wait_until_succeeds("systemctl show -P NRestarts ephyr-netguard.service | grep -v '^0$'", timeout=180)
    wait_for_appliance(appliance)
    for agent in FIRST_DONE:
        unit = f"ephyr-agent-{agent}.service"
        t.assertEqual(appliance.get_unit_property(unit, "ExecMainStartTimestampMonotonic"), "0")
        t.assertNotEqual(appliance.get_unit_property(unit, "ActiveState"), "active")
    appliance.succeed("test -e /var/lib/ephyr-agents/worker/in/first; test -e /var/lib/ephyr-agents/caller/in/first")
    t.assertEqual(arrived(appliance, RECEIVERS), set())
    # Broker and signer run, and the cause is reported.
    same_time(appliance, web)
    t.assertEqual(runs(appliance, exec_as("scout", "web", "read", "id -un")), "agent-read\n")
    t.assertIn("nft", journal(appliance, "-u ephyr-netguard.service"))

with subtest("with nft back, everything starts"):
    appliance.succeed(f"chmod 755 {NFT}")
    appliance.wait_until_succeeds("systemctl is-active ephyr-netguard.service", timeout=120)
    for done in FIRST_DONE.values():
        appliance.wait_for_file(done, timeout=180)
    t.assertNotEqual(appliance.execute("runuser -u ephyr-agent-scout -- nc -z -w 20 127.0.0.1 22", timeout=60)[0], 0)
    appliance.succeed("runuser -u nobody -- nc -z -w 20 127.0.0.1 22")

# topology: bare
# limit: 900
"""The driver keeps its promises: what the other scenarios rely on is true of the machines themselves."""

start_all()

with subtest("a command's output, status and failure are its own"):
    t.assertEqual(one.succeed("echo to-stderr >&2; echo one; hostname"), "one\none\n")
    t.assertEqual(one.execute("exit 7"), (7, ""))
    t.assertEqual(one.execute("false | true")[0], 1, "a pipe fails when any part of it does")
    t.assertEqual(one.execute("sleep 60", timeout=1)[0], 124)
    with t.assertRaises(Exception):
        one.succeed("false")
    with t.assertRaises(Exception):
        one.fail("true")
    t.assertEqual(len(one.succeed("head -c 300000 /dev/zero | tr '\\0' x")), 300000)

with subtest("units, files, ports and sockets can be waited for"):
    one.wait_for_unit("multi-user.target")
    one.require_unit_state("ssh.service")
    one.require_unit_state("nftables.service", "inactive")
    with t.assertRaises(Exception):
        one.require_unit_state("nftables.service")
    with t.assertRaises(Exception):
        one.wait_for_unit("nftables.service", timeout=30)
    t.assertEqual(one.get_unit_property("ssh.service", "Type"), "notify")
    one.succeed("systemd-run --timer-property=AccuracySec=50ms --on-active=1 touch /run/later")
    one.wait_for_file("/run/later", timeout=60)
    two.wait_for_open_port(22, "192.168.1.1", timeout=60)
    two.wait_for_open_port(22, "2001:db8:1::1", timeout=60)
    two.wait_for_closed_port(23, "192.168.1.1", timeout=60)
    one.wait_for_open_unix_socket("/run/systemd/journal/stdout", timeout=60)
    with t.assertRaises(Exception):
        one.wait_until_succeeds("false", timeout=2)

with subtest("files go in and come out whole"):
    one.copy_from_host(__file__, "/root/in/scenario.py")
    with open(__file__, "rb") as file:
        import hashlib

        digest = hashlib.sha256(file.read()).hexdigest()
    t.assertEqual(one.succeed("sha256sum < /root/in/scenario.py").split()[0], digest)
    one.copy_from_machine("/root/in/scenario.py", "out")

with subtest("a cable that is pulled out carries nothing, and then it does again"):
    two.block()
    one.fail("ping -c 2 -W 2 192.168.1.2")
    two.unblock()
    one.wait_until_succeeds("ping -c 1 -W 2 192.168.1.2", timeout=60)

with subtest("all machines believe in the same time"):
    first, second = (int(machine.succeed("date +%s")) for machine in (one, two))
    t.assertLess(abs(first - second), 5)

with subtest("a crash loses the memory and keeps the disk"):
    boot_id = one.succeed("cat /proc/sys/kernel/random/boot_id")
    before = int(one.succeed("date +%s"))
    one.succeed("echo kept > /root/kept; echo lost > /run/lost; sync")
    one.crash()
    one.start(allow_reboot=True)
    one.wait_for_unit("multi-user.target")
    t.assertEqual(one.succeed("cat /root/kept"), "kept\n")
    one.fail("test -e /run/lost")
    t.assertNotEqual(one.succeed("cat /proc/sys/kernel/random/boot_id"), boot_id)
    t.assertLess(abs(int(one.succeed("date +%s")) - before), 300)

with subtest("a reboot and a shutdown are clean"):
    boot_id = one.succeed("cat /proc/sys/kernel/random/boot_id")
    one.reboot()
    one.wait_for_unit("multi-user.target")
    t.assertNotEqual(one.succeed("cat /proc/sys/kernel/random/boot_id"), boot_id)
    two.shutdown()
    one.fail("ping -c 1 -W 2 192.168.1.2")

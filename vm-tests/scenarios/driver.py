# topology: site
"""The machines have the properties that the other scenarios rely on."""

start_all()

with subtest("a command's output, status and failure are its own"):
    t.assertEqual(outside.succeed("echo to-stderr >&2; echo out; hostname"), "out\noutside\n")
    t.assertEqual(outside.execute("exit 7"), (7, ""))
    t.assertEqual(outside.execute("false | true")[0], 1, "a pipe fails when any part of it does")
    t.assertEqual(outside.execute("sleep 100000", timeout=1)[0], 124)
    with t.assertRaises(Exception):
        outside.succeed("false")
    with t.assertRaises(Exception):
        outside.fail("true")
    t.assertEqual(len(outside.succeed("head -c 300000 /dev/zero | tr '\\0' x")), 300000)

with subtest("units, files, ports and sockets can be waited for"):
    outside.wait_for_unit("multi-user.target")
    outside.require_unit_state("ssh.service")
    outside.require_unit_state("nftables.service", "inactive")
    with t.assertRaises(Exception):
        outside.require_unit_state("nftables.service")
    with t.assertRaises(Exception):
        outside.wait_for_unit("nftables.service", timeout=30)
    t.assertEqual(outside.get_unit_property("ssh.service", "Type"), "notify")
    outside.succeed("systemd-run --timer-property=AccuracySec=50ms --on-active=1 touch /run/later")
    outside.wait_for_file("/run/later", timeout=60)
    web.wait_for_open_port(22, "192.168.1.1", timeout=60)
    web.wait_for_open_port(22, "2001:db8:1::1", timeout=60)
    web.wait_for_closed_port(23, "192.168.1.1", timeout=60)
    outside.wait_for_open_unix_socket("/run/systemd/journal/stdout", timeout=60)
    with t.assertRaises(Exception):
        outside.wait_until_succeeds("false", timeout=2)

with subtest("files go in and come out whole"):
    outside.copy_from_host(__file__, "/root/in/scenario.py")
    with open(__file__, "rb") as file:
        import hashlib

        digest = hashlib.sha256(file.read()).hexdigest()
    t.assertEqual(outside.succeed("sha256sum < /root/in/scenario.py").split()[0], digest)
    outside.copy_from_machine("/root/in/scenario.py", "out")

with subtest("a cable that is pulled out carries nothing, and then it does again"):
    web.block()
    outside.fail("ping -c 1 -W 2 192.168.1.2")
    web.unblock()
    outside.wait_until_succeeds("ping -c 1 -W 2 192.168.1.2", timeout=60)



def time_of(machine: Machine) -> int:
    return int(machine.succeed("date +%s"))


def same_time_as(machine: Machine, other: Machine, within: int) -> None:
    """Asks one machine before and after the other, so that slow answers do not matter."""
    before, between, after = time_of(machine), time_of(other), time_of(machine)
    t.assertLessEqual(before - within, between)
    t.assertLessEqual(between, after + within)


def boot_id(machine: Machine) -> str:
    return machine.succeed("cat /proc/sys/kernel/random/boot_id")


with subtest("all machines believe in the same time"):
    same_time_as(outside, web, within=5)
    same_time_as(web, appliance, within=5)

# Both boot at the same time.
of_web = boot_id(web)
with subtest("a crash loses the memory and keeps the disk"):
    of_outside = boot_id(outside)
    outside.succeed("echo kept > /root/kept; echo lost > /run/lost; sync")
    outside.crash()
    outside.start()
    web.start(allow_reboot=True)
    web.reboot()
    outside.wait_for_unit("multi-user.target")
    t.assertEqual(outside.succeed("cat /root/kept"), "kept\n")
    outside.fail("test -e /run/lost")
    t.assertNotEqual(boot_id(outside), of_outside)
    # It has the host's time, and the other may be behind.
    same_time_as(outside, appliance, within=300)

with subtest("a reboot and a shutdown are clean"):
    web.wait_for_unit("multi-user.target")
    t.assertNotEqual(boot_id(web), of_web)
    outside.wait_until_succeeds("ping -c 1 -W 2 192.168.1.2", timeout=60)
    web.shutdown()
    outside.fail("ping -c 1 -W 2 192.168.1.2")

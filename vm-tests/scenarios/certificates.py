# topology: site
# core: yes
"""sshd accepts a certificate of the CA for exactly the role, host, time and address that it names."""

start_all()
wait_for_appliance(appliance)
know_host(outside, "web", "192.168.1.2")


def login(account: str = "agent-operate") -> str:
    return f"{SSH} -i /root/key {account}@192.168.1.2 'id -un' 2>&1"


def opens() -> None:
    t.assertEqual(outside.succeed(login()), "agent-operate\n")


def is_refused(account: str = "agent-operate") -> None:
    t.assertIn("Permission denied", outside.fail(login(account)))


with subtest("a bare key, without a certificate, is refused"):
    make_certificate(outside, "web/operate")
    opens()
    outside.succeed("rm /root/key-cert.pub")
    is_refused()

with subtest("another role's principal is refused, the role's own opens its account"):
    make_certificate(outside, "web/read")
    is_refused()
    make_certificate(outside, "agent-operate")
    is_refused()
    make_certificate(outside, "web/operate")
    opens()

with subtest("another host's certificate is refused"):
    make_certificate(outside, "db/operate")
    is_refused()
    make_certificate(outside, "web/operate")
    opens()

with subtest("a certificate opens no account but its role's"):
    make_certificate(outside, "web/operate")
    for account in ("root", "ops", "agent-read"):
        is_refused(account)
    opens()

with subtest("an expired certificate and one of the future are refused"):
    make_certificate(outside, "web/operate", validity="20200101:20200102")
    is_refused()
    make_certificate(outside, "web/operate", validity="+1d:+2d")
    is_refused()
    make_certificate(outside, "web/operate")
    opens()

with subtest("a foreign CA is refused"):
    # Another valid key.
    make_certificate(outside, "web/operate", ca=f"{KEYS}/host_db")
    is_refused()
    make_certificate(outside, "web/operate")
    opens()

with subtest("a certificate is refused from an address that it does not name"):
    make_certificate(outside, "web/operate", options="-O source-address=192.168.1.1/32")
    is_refused()
    make_certificate(outside, "web/operate", options="-O source-address=192.168.1.9/32")
    opens()

with subtest("the broker's own certificates carry the policy's source address"):
    write_policy(appliance, "policy['targets']['web']['source_address'] = ['192.168.7.0/24']")
    reload_policy(appliance)
    exits(appliance, exec_as("worker", "web", "operate", "id -un"), 69, says="refused the certificate")
    write_policy(appliance, "policy['targets']['web']['source_address'] = ['192.168.1.1/32']")
    reload_policy(appliance)
    t.assertEqual(runs(appliance, exec_as("worker", "web", "operate", "id -un")), "agent-operate\n")

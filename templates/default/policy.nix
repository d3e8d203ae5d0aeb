# The policy. The appliance and its targets import the same file, so they cannot disagree.
{
  services.ephyr = {
    # The output of `ephyr ca init --out ca_key`.
    caPublicKeys = [ "ssh-ed25519 AAAA… ephyr CA" ];

    # An agent, identified by the UID of its user on the appliance.
    agents.deploy.uid = 1501;

    settings = {
      roles.read = {
        principal = "agent-read";
        commands = [
          "uptime"
          "systemctl status *"
          "journalctl --no-pager -u nginx"
        ];
      };
      targets.web = {
        host = "web.internal.example";
        # The output of `ephyr host-key web.internal.example`.
        host_key = "ssh-ed25519 AAAA…";
        allowed_roles = [ "read" ];
        auto_approve = true;
      };
      agents.deploy.ssh.web.roles = [ "read" ];
    };
  };
}

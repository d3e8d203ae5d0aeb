# Who may do what, where. The appliance and its targets both import it, and so cannot disagree.
{
  services.ephyr = {
    # What `ephyr ca init --out ca_key` printed.
    caPublicKeys = [ "ssh-ed25519 AAAA… ephyr CA" ];

    # Who asks, by the UID of its user on the appliance.
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
        # What `ephyr host-key web.internal.example` prints.
        host_key = "ssh-ed25519 AAAA…";
        allowed_roles = [ "read" ];
        auto_approve = true;
      };
      agents.deploy.ssh.web.roles = [ "read" ];
    };
  };
}

# A throw-away appliance that is its own target. Its CA key is made at its first boot.
{
  config,
  lib,
  pkgs,
  modulesPath,
  ...
}:
let
  cfg = config.services.ephyr;
in
{
  imports = [ "${modulesPath}/virtualisation/qemu-vm.nix" ];

  networking.hostName = "ephyr";
  system.stateVersion = lib.trivial.release;
  users.users.root.initialHashedPassword = "";
  services.getty.autologinUser = "root";

  services.ephyr = {
    enable = true;
    caKeyFile = "/var/lib/ephyr-ca/ca_key";
    # The private half does not exist. The first boot replaces the list with its own key.
    caPublicKeys = [
      "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBFb0pR5mR0UgbYKcqoUIkxBSF1sNaC/hxrFKJ9XBTHE placeholder"
    ];
    agents.visitor.uid = 1501;
    target = {
      enable = true;
      name = "self";
    };
    settings = {
      # Its host key is made at its first boot, too.
      global.host_key_strict = false;
      roles.read.principal = "agent-read";
      targets.self = {
        host = "127.0.0.1";
        allowed_roles = [ "read" ];
        auto_approve = true;
      };
      agents.visitor.ssh.self.roles = [ "read" ];
    };
  };

  services.openssh.enable = true;

  # Lists that the machine makes itself: only for a machine that is thrown away.
  environment.etc."ephyr/ca.pub".source = lib.mkForce "/var/lib/ephyr-ca/ca.pub";
  environment.etc."ssh/ephyr/ephyr/ca.pub".source = lib.mkForce "/var/lib/ephyr-ca/ca.pub";
  systemd.services.ephyr-ca = {
    description = "A CA key for this throw-away appliance";
    wantedBy = [ "multi-user.target" ];
    requiredBy = [ "ephyr-signer.service" ];
    before = [
      "ephyr-signer.service"
      "ephyr-broker.service"
    ];
    unitConfig.ConditionPathExists = "!/var/lib/ephyr-ca/ca_key";
    serviceConfig = {
      Type = "oneshot";
      StateDirectory = "ephyr-ca";
      UMask = "0022";
    };
    path = [
      cfg.package
      pkgs.coreutils
    ];
    script = ''
      ephyr ca init --out /var/lib/ephyr-ca/ca_key > /var/lib/ephyr-ca/ca.pub
    '';
  };
}

# The appliance: the only host that can reach the targets.
{ pkgs, ... }:
{
  imports = [ ./hardware-appliance.nix ];
  networking.hostName = "appliance";
  system.stateVersion = "26.05";

  services.ephyr = {
    enable = true;
    # Deployed with your other secrets; only root needs to read it.
    caKeyFile = "/var/lib/secrets/ephyr_ca_key";

    # The agent's unit has no network. It runs commands by `ephyr exec` or `ephyr mcp`, without a key.
    agents.deploy.command = [
      "${pkgs.bash}/bin/bash"
      "-c"
      "ephyr exec web --role read -- uptime"
    ];
  };
}

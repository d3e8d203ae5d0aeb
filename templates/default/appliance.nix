# The one host that can reach the others.
{ pkgs, ... }:
{
  imports = [ ./hardware-appliance.nix ];
  networking.hostName = "appliance";
  system.stateVersion = "26.05";

  services.ephyr = {
    enable = true;
    # Brought there by whatever brings your secrets; root alone needs to read it.
    caKeyFile = "/var/lib/secrets/ephyr_ca_key";

    # Its unit has no network: it uses hosts by `ephyr exec` or `ephyr mcp`, and needs no key for it.
    agents.deploy.command = [
      "${pkgs.bash}/bin/bash"
      "-c"
      "ephyr exec web --role read -- uptime"
    ];
  };
}

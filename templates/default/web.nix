# A target: a host that agents may use. Its other logins do not change.
{
  imports = [ ./hardware-web.nix ];
  networking.hostName = "web";
  system.stateVersion = "26.05";

  services.openssh.enable = true;
  services.ephyr.target = {
    enable = true;
    name = "web";
  };
}

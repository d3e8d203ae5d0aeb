# A host that agents may use. Its own logins stay as they are.
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

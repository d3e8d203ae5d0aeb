# An appliance and a target as NixOS itself makes them, instantiated and not built.
{ nixpkgs }:
let
  system = "x86_64-linux";
  nixos = import (nixpkgs + "/nixos/lib/eval-config.nix");
  pkgs = import nixpkgs { inherit system; };
  inherit (import ../../nix/packages.nix { inherit pkgs; }) ephyr;

  machine =
    module:
    (nixos {
      inherit system;
      modules = [
        {
          boot.loader.grub.enable = false;
          fileSystems."/".device = "none";
          system.stateVersion = pkgs.lib.trivial.release;
          services.ephyr.package = ephyr;
        }
        (import ./cases.nix { inherit (pkgs) lib; }).sound.module
        module
      ];
    }).config.system.build.toplevel;
in
{
  appliance = machine ../default.nix;
}

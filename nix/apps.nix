# `nix run .#demo` and `nix run .#appliance-vm`.
{
  self,
  lib,
  pkgs,
}:
let
  inherit (pkgs.stdenv.hostPlatform) system;
  packages = self.packages.${system};

  demo = pkgs.writeShellApplication {
    name = "ephyr-demo";
    runtimeInputs = [
      pkgs.openssh
      pkgs.util-linux
    ];
    text = ''
      export EPHYR_BIN_DIR=${packages.ephyr}/bin
      exec ${lib.getExe packages.ephyr-demo} "$@"
    '';
  };

  appliance = lib.nixosSystem {
    modules = [
      self.nixosModules.default
      ./appliance-vm.nix
      { nixpkgs.hostPlatform = system; }
    ];
  };
in
{
  demo = {
    type = "app";
    program = lib.getExe demo;
    meta.description = "Plays Ephyr's main job against a real sshd, step by step";
  };
  appliance-vm = {
    type = "app";
    program = "${appliance.config.system.build.vm}/bin/run-ephyr-vm";
    meta.description = "An appliance to look at: log in as root, without a password";
  };
}

# `nix flake check`: the tests that a build sandbox allows, clippy, the option reference, every VM test.
{
  self,
  lib,
  pkgs,
}:
let
  packages = self.packages.${pkgs.stdenv.hostPlatform.system};
  evaluated = import ../nixos-module/tests/evaluate.nix { inherit lib; };

  cargo =
    name: attributes:
    pkgs.rustPlatform.buildRustPackage (
      {
        inherit name;
        src = import ./source.nix { inherit lib; };
        cargoLock.lockFile = ../Cargo.lock;
        installPhase = "touch $out";
      }
      // attributes
    );
in
{
  inherit (packages) ephyr;

  unit-tests = cargo "ephyr-unit-tests" {
    dontBuild = true;
    doCheck = true;
    cargoTestFlags = [
      "--workspace"
      "--lib"
      "--bins"
    ];
  };

  clippy = cargo "ephyr-clippy" {
    nativeBuildInputs = [ pkgs.clippy ];
    doCheck = false;
    buildPhase = "cargo clippy --offline --workspace --all-targets -- -D warnings";
  };

  nix-files =
    pkgs.runCommand "ephyr-nix-files"
      {
        nativeBuildInputs = [
          pkgs.deadnix
          pkgs.nix
          pkgs.nixfmt
          pkgs.python3
        ];
        source = self;
        declared = builtins.toJSON evaluated.options;
        passAsFile = [ "declared" ];
      }
      ''
        cp -r "$source" source
        python3 source/nixos-module/tests/check.py \
          --ephyr ${lib.getExe packages.ephyr-cli} --declared "$declaredPath"
        touch "$out"
      '';
}
// import ../vm-tests {
  inherit pkgs;
  modules = [ self.nixosModules.default ];
  package = packages.ephyr;
}

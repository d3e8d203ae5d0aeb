{
  description = "Ephyr lets AI agents use SSH hosts without a credential";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";

  outputs =
    { self, nixpkgs }:
    let
      inherit (nixpkgs) lib;
      systems = [
        "x86_64-linux"
        "aarch64-linux"
      ];
      forEach = make: lib.genAttrs systems (system: make nixpkgs.legacyPackages.${system});

      # Where the module's programs come from; the key makes it one module, however often it is imported.
      package = {
        key = "ephyr-package";
        imports = [
          (
            { pkgs, ... }:
            {
              services.ephyr.package = lib.mkDefault (import ./nix/packages.nix { inherit pkgs; }).ephyr;
              services.ephyr.checkPackage =
                lib.mkDefault
                  (import ./nix/packages.nix { pkgs = pkgs.buildPackages; }).ephyr;
            }
          )
        ];
      };
    in
    {
      packages = forEach (
        pkgs:
        let
          packages = import ./nix/packages.nix { inherit pkgs; };
        in
        packages // { default = packages.ephyr; }
      );

      overlays.default = final: _: { inherit (import ./nix/packages.nix { pkgs = final; }) ephyr; };

      nixosModules = {
        # The appliance; with services.ephyr.target.enable also, or only, a target.
        default.imports = [
          package
          ./nixos-module
        ];
        # A target alone, with the options that it reads.
        target.imports = [
          package
          ./nixos-module/only-target.nix
        ];
      };

      apps = forEach (pkgs: import ./nix/apps.nix { inherit self lib pkgs; });

      devShells = forEach (pkgs: {
        default = pkgs.mkShell {
          packages = [
            pkgs.cargo
            pkgs.cargo-deny
            pkgs.cargo-nextest
            pkgs.clippy
            pkgs.deadnix
            pkgs.nixfmt
            pkgs.nftables
            pkgs.openssh
            pkgs.rustc
            pkgs.rustfmt
          ];
        };
      });

      formatter = forEach (pkgs: pkgs.nixfmt-tree);

      templates.default = {
        path = ./templates/default;
        description = "An appliance and one target that share a policy";
      };

      checks = forEach (pkgs: import ./nix/checks.nix { inherit self lib pkgs; });
    };
}

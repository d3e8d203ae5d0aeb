{
  description = "An Ephyr appliance and a target";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";
  inputs.ephyr.url = "github:ephyr/ephyr";
  inputs.ephyr.inputs.nixpkgs.follows = "nixpkgs";

  outputs =
    { nixpkgs, ephyr, ... }:
    {
      nixosConfigurations.appliance = nixpkgs.lib.nixosSystem {
        modules = [
          ephyr.nixosModules.default
          ./policy.nix
          ./appliance.nix
        ];
      };
      nixosConfigurations.web = nixpkgs.lib.nixosSystem {
        modules = [
          ephyr.nixosModules.target
          ./policy.nix
          ./web.nix
        ];
      };
    };
}

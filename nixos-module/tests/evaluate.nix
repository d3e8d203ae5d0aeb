# Evaluates the module with nixpkgs' lib and the stub: { lib } -> the cases with what they gave, the options for
# docs/options.md. A case is sound when nothing of it throws and all its assertions hold.
{ lib }:
let
  derivation =
    name: extra:
    {
      type = "derivation";
      inherit name;
      outPath = "/nix/store/00000000000000000000000000000000-${name}";
    }
    // extra;
  pkgs = {
    inherit lib;
    buildPackages = pkgs;
    rustPlatform.buildRustPackage =
      make:
      let
        made = make made;
      in
      derivation "${made.pname}-${made.version}" { inherit (made) version meta; };
    symlinkJoin = { name, ... }: derivation name { };
    jq = derivation "jq-1.8" { };
    nftables = derivation "nftables-1.1.3" { };
    runCommand =
      name: environment: script:
      derivation name { inherit environment script; };
    writeText = name: text: derivation name { inherit text; };
  };

  evaluatedWith =
    modules:
    lib.evalModules {
      modules = [
        ./stub.nix
        { _module.args = { inherit pkgs; }; }
      ]
      ++ modules;
    };

  evaluated =
    module:
    evaluatedWith [
      ../default.nix
      { services.ephyr.package = derivation "ephyr-0.1.0" { }; }
      module
    ];

  # As NixOS does: assertions first, and only then all that they guard.
  result =
    { config, ... }:
    let
      failed = map (one: one.message) (builtins.filter (one: !one.assertion) config.assertions);
      force = value: builtins.tryEval (builtins.deepSeq value value);
      assertions = force failed;
      whole = force (removeAttrs config [ "_module" ]);
    in
    if !assertions.success then
      { throws = true; }
    else if assertions.value != [ ] then
      { failed = assertions.value; }
    else if whole.success then
      { failed = [ ]; }
    else
      { throws = true; };

  cases = import ./cases.nix { inherit lib; };

  # The flake with this lib in nixpkgs' place: its outputs, and its modules together on one host.
  outputs = (import ../../flake.nix).outputs {
    self = outputs;
    nixpkgs = {
      inherit lib;
      legacyPackages = lib.genAttrs [ "x86_64-linux" "aarch64-linux" ] (_: pkgs);
    };
  };
in
{
  results = builtins.mapAttrs (_: case: {
    expected = case.fails or null;
    throws = case.throws or false;
    found = result (evaluated case.module);
  }) cases;

  flake = {
    outputs = builtins.mapAttrs (_: builtins.attrNames) (removeAttrs outputs [ "overlays" ]);
    both = result (evaluatedWith [
      outputs.nixosModules.default
      outputs.nixosModules.target
      cases.target-and-appliance.module
    ]);
  };

  # Facts about the sound configuration that no type states.
  config =
    let
      inherit (evaluated cases.sound.module) config;
    in
    {
      inherit (config.systemd) services sockets;
      inherit (config.users) users groups;
      etc = config.environment.etc;
      tmpfiles = config.systemd.tmpfiles.settings;
      inherit (config.services.ephyr) settings;
    };

  options =
    let
      all = lib.optionAttrSetToDocList (evaluated { }).options.services.ephyr;
      shown = builtins.filter (one: one.visible == true && !one.internal) all;
      value = found: if found == null then null else found.text or (builtins.toJSON found);
    in
    map (one: {
      inherit (one) name type;
      description = one.description or "";
      default = value (one.default or null);
      example = value (one.example or null);
    }) shown;
}

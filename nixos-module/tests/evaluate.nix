# Evaluates the module with nixpkgs' lib and the stub: { lib } -> the cases with what they gave, the options for
# docs/options.md. A case is sound when nothing of it throws and all its assertions hold.
{ lib }:
let
  # Of other content, another path, as in a store.
  derivation =
    name: extra:
    let
      digest = builtins.hashString "sha256" (builtins.toJSON extra);
      hash = builtins.replaceStrings [ "e" ] [ "z" ] (builtins.substring 0 32 digest);
    in
    {
      type = "derivation";
      inherit name;
      outPath = "/nix/store/${hash}-${name}";
    }
    // extra;
  pkgs = {
    inherit lib;
    buildPackages = pkgs;
    rustPlatform.buildRustPackage =
      make:
      let
        made = if builtins.isFunction make then make made else make;
      in
      derivation (made.name or "${made.pname}-${made.version}") {
        version = made.version or "";
        meta = made.meta or { };
      };
    symlinkJoin = { name, ... }: derivation name { };
    jq = derivation "jq-1.8" { };
    openssh = derivation "openssh-10.0" { };
    nftables = derivation "nftables-1.1.3" { };
    bash = derivation "bash-5.3" { };
    systemd = derivation "systemd-260" { };
    coreutils = derivation "coreutils-9" { };
    python3 = derivation "python3-3.13" { };
    netcat-openbsd = derivation "netcat-openbsd-1" { };
    clippy = derivation "clippy-1" { };
    testers.runNixOSTest = test: derivation test.name { inherit (test) nodes testScript; };
    runCommand =
      name: environment: script:
      derivation name { inherit environment script; };
    writeText = name: text: derivation name { inherit text; };
  };

  evaluatedWith =
    modules:
    lib.evalModules {
      specialArgs.modulesPath = toString ./modules;
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
  inherit (import ../policy.nix { inherit lib pkgs; }) keys;

  file = made: {
    path = made.outPath;
    inherit (made) text;
  };
  # The script of a derivation of the module, to be run without Nix.
  # (JSON would take what has an `outPath` for that path.)
  recipe = made: {
    path = made.outPath;
    inherit (made) environment script;
  };

  # The flake with this lib in nixpkgs' place: its outputs, and its modules together on one host.
  outputs = (import ../../flake.nix).outputs {
    self = outputs;
    nixpkgs = {
      inherit lib;
      legacyPackages = lib.genAttrs [ "x86_64-linux" "aarch64-linux" ] (
        system: pkgs // { stdenv.hostPlatform = { inherit system; }; }
      );
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
    # Of each system.
    names = lib.genAttrs [ "apps" "checks" "devShells" "packages" ] (
      output: builtins.mapAttrs (_: builtins.attrNames) outputs.${output}
    );
    overlay = builtins.attrNames (outputs.overlays.default pkgs pkgs);
    tests = builtins.mapAttrs (_: test: {
      machines = builtins.mapAttrs (_: machine: result (evaluatedWith [ machine ])) test.nodes;
      says = test.testScript != "";
    }) (lib.filterAttrs (_: check: check ? testScript) outputs.checks.aarch64-linux);
    both = result (evaluatedWith [
      outputs.nixosModules.default
      outputs.nixosModules.target
      cases.target-and-appliance.module
    ]);
  };

  # What is built for configurations, with what they make of it.
  builds = {
    policy = recipe (evaluated cases.sound.module).config.services.ephyr.compiled;
    policies = builtins.mapAttrs (
      _: settings:
      recipe (evaluated { services.ephyr = { inherit settings; }; }).config.services.ephyr.compiled
    ) cases.target-in-full.policies;
    target =
      let
        inherit (evaluated cases.target-in-full.module) config;
        inherit (config.services.ephyr.target) authorities compiled;
      in
      {
        authorities = builtins.mapAttrs (name: authority: {
          recipe = recipe compiled.${name};
          keys = file (keys authority.caPublicKeys);
          inherit (authority) settings target;
        }) authorities;
        inherit (config) warnings;
        inherit (config.users) users;
        inherit (config.environment) etc;
        tmpfiles = config.systemd.tmpfiles.settings;
        sshd = config.services.openssh.extraConfig;
        sshdConfig = config.environment.etc."ssh/sshd_config".source;
        checks = map recipe config.system.checks;
        sudo = config.security.sudo.extraConfig;
        deny = builtins.mapAttrs (_: service: service.preStart) {
          inherit (config.systemd.services) cron atd;
        };
      };
  };

  # The machines of the template in this directory, with what is built for them.
  template =
    directory:
    let
      made = (import (directory + "/flake.nix")).outputs {
        nixpkgs.lib.nixosSystem = { modules }: evaluatedWith modules;
        ephyr = outputs;
      };
    in
    builtins.mapAttrs (_: machine: {
      found = result machine;
      inherit (machine.config.services.ephyr) enable;
      keys = file (keys machine.config.services.ephyr.caPublicKeys);
      policy = recipe machine.config.services.ephyr.compiled;
      targets = builtins.mapAttrs (_: recipe) machine.config.services.ephyr.target.compiled;
    }) made.nixosConfigurations;

  # What `nix run .#appliance-vm` boots.
  throwAway =
    let
      machine = evaluatedWith [
        outputs.nixosModules.default
        ../../nix/appliance-vm.nix
      ];
      inherit (machine.config.services) ephyr openssh;
    in
    {
      found = result machine;
      keys = file (keys ephyr.caPublicKeys);
      policy = recipe ephyr.compiled;
      target = recipe ephyr.target.compiled.ephyr;
      inherit (openssh) enable;
      lists = lib.filterAttrs (
        _: entry: entry.source == "/var/lib/ephyr-ca/ca.pub"
      ) machine.config.environment.etc;
    };

  # Facts about the sound configuration that no type states.
  config =
    let
      inherit (evaluated cases.sound.module) config;
    in
    {
      inherit (config.systemd) services sockets targets;
      inherit (config.users) users groups;
      etc = config.environment.etc;
      tmpfiles = config.systemd.tmpfiles.settings;
      inherit (config.services.ephyr) settings;
    };

  withoutPort = (evaluated cases.mcp-off.module).config.systemd.services.ephyr-netguard.environment;

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

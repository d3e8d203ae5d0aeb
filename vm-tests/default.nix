# The scenarios as NixOS tests: `{ <name> = <test>; }`, one for each file of scenarios/ that does not say
# `# only: debian`. The machines come from topologies/, as for the Debian runner.
{
  pkgs,
  # The appliance's module and the target's.
  modules ? [ ../nixos-module ],
  package ? pkgs.ephyr,
}:
let
  inherit (pkgs) lib;

  keys = ./keys;
  read = name: lib.trim (builtins.readFile (keys + "/${name}"));

  topology = name: builtins.fromJSON (builtins.readFile (./topologies + "/${name}.json"));

  # The value of a header line such as `# topology: site` or `# only: debian`.
  header =
    text: key:
    let
      found = lib.filter (match: match != null) (
        map (builtins.match "# ${key}: ([a-z0-9_]+)") (lib.take 4 (lib.splitString "\n" text))
      );
    in
    if found == [ ] then null else lib.head (lib.head found);

  # UIDs and `egress` of agents on the appliance are options of the agent; the module adds them to the policy, there and
  # on the targets.
  policy =
    data: local:
    data.policy
    // {
      agents = lib.mapAttrs (
        name: agent:
        if local ? ${name} then
          removeAttrs agent [
            "uid"
            "egress"
          ]
        else
          agent
      ) data.policy.agents;
    };

  agentsOf =
    data: lib.foldl' (all: node: all // (node.settings.agents or { })) { } (lib.attrValues data.nodes);

  ephyr = data: {
    inherit package;
    settings = policy data (agentsOf data);
    agents = agentsOf data;
    caPublicKeys = [ (read "ca.pub") ];
  };

  roles = {
    appliance = data: _node: {
      services.ephyr = ephyr data // {
        enable = true;
        caKeyFile = "/etc/ephyr-vm/keys/ca";
      };
    };
    target = data: node: {
      services.ephyr = ephyr data // {
        target = {
          enable = true;
          name = node.settings.target;
        };
      };
      users.users.ops = {
        isNormalUser = true;
        openssh.authorizedKeys.keys = [ (read "operator.pub") ];
      };
    };
    plain = _data: _node: { };
  };

  address =
    text:
    let
      parts = lib.splitString "/" text;
    in
    {
      address = lib.head parts;
      prefixLength = lib.toInt (lib.last parts);
    };

  isV6 = lib.hasInfix ":";

  machine =
    data: name: node:
    { pkgs, ... }:
    {
      imports = modules ++ [ (roles.${node.role} data node) ];
      virtualisation.vlans = [ 1 ];
      networking = {
        firewall.enable = false;
        interfaces.eth1 = {
          ipv4.addresses = lib.mkForce (map address (lib.filter (text: !isV6 text) node.addresses));
          ipv6.addresses = lib.mkForce (map address (lib.filter isV6 node.addresses));
        };
        hosts = lib.mkForce (
          lib.zipAttrs (
            lib.concatLists (
              lib.mapAttrsToList (
                other: its: map (text: { ${(address text).address} = other; }) its.addresses
              ) data.nodes
            )
          )
        );
        defaultGateway = lib.mkIf (node ? via) {
          address = lib.findFirst (text: !isV6 text) null node.via;
          interface = "eth1";
        };
        defaultGateway6 = lib.mkIf (node ? via) {
          address = lib.findFirst isV6 null node.via;
          interface = "eth1";
        };
      };
      environment.systemPackages = [
        pkgs.python3
        pkgs.netcat-openbsd
      ];
      # Copies with their own modes: sshd and the signer refuse links into the store.
      environment.etc = lib.mapAttrs' (
        file: _:
        lib.nameValuePair "ephyr-vm/keys/${file}" {
          source = keys + "/${file}";
          mode = "0400";
        }
      ) (builtins.readDir keys);
      services.openssh = {
        enable = true;
        # Scenarios have more failed logins from one address than sshd would accept.
        settings.PerSourcePenalties = "no";
        hostKeys = lib.mkIf (builtins.pathExists (keys + "/host_${name}")) [
          {
            type = "ed25519";
            path = "/etc/ephyr-vm/keys/host_${name}";
          }
        ];
      };
    };

  # Functions that only the Debian runner's driver has; that one checks skips against the list of known ones.
  skip = ''
    def skip(what: str, why: str) -> None:
        print(f"SKIP {what}: {why}")

  '';

  test =
    file:
    let
      text = builtins.readFile (./scenarios + "/${file}");
      name = lib.removeSuffix ".py" file;
      data = topology (header text "topology");
    in
    lib.optionalAttrs (header text "only" != "debian") {
      ${name} = pkgs.testers.runNixOSTest {
        name = "ephyr-${name}";
        nodes = lib.mapAttrs (machine data) data.nodes;
        testScript = "from __future__ import annotations\n" + skip + builtins.readFile ./prelude.py + text;
        # Checked against the signatures that both drivers share: `python3 -m driver --check`.
        skipTypeCheck = true;
        globalTimeout = 1800;
      };
    };
in
lib.mergeAttrsList (
  map test (lib.filter (lib.hasSuffix ".py") (lib.attrNames (builtins.readDir ./scenarios)))
)

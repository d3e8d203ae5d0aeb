# The appliance: signer, broker, firewall and agents of one policy.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib)
    filterAttrs
    mapAttrs
    mapAttrs'
    mkIf
    mkMerge
    nameValuePair
    ;

  cfg = config.services.ephyr;
  policy = import ./policy.nix { inherit lib pkgs; };

  rendered = import ./units.nix {
    package = "${cfg.package}";
    nft = "${pkgs.nftables}/bin/nft";
    systemctl = "${pkgs.systemd}/bin/systemctl";
    ca_key = {
      file = toString cfg.caKeyFile;
      encrypted = cfg.caKeyEncrypted;
    };
    inherit (cfg) credentials readable agents;
  };

  toUnits = import ./systemd.nix { inherit lib; };
  disabled = lib.optional (!cfg.mcp.enable) "ephyr-mcp.socket";
  units = toUnits (removeAttrs rendered.units disabled);

  # A changed policy reloads the daemons; running commands and tasks stay.
  daemon = {
    reloadTriggers = [ config.environment.etc."ephyr/policy.yaml".source ];
    stopIfChanged = false;
  };
  # The list of CA keys is read at startup only.
  withKeys = daemon // {
    restartTriggers = [ config.environment.etc."ephyr/ca.pub".source ];
  };

  agentUnit =
    name: agent:
    nameValuePair "ephyr-agent-${name}" {
      path = [ cfg.package ] ++ agent.packages;
      stopIfChanged = false;
    };
in
{
  imports = [
    ./options.nix
    ./agents.nix
    ./target.nix
    ./assertions.nix
  ];

  config = mkIf cfg.enable {
    environment.systemPackages = [ cfg.package ];
    environment.etc = {
      "ephyr/policy.yaml".source = "${cfg.compiled}/policy.yaml";
      "ephyr/ca.pub".source = policy.keys cfg.caPublicKeys;
    };

    users.users = mapAttrs (name: description: {
      isSystemUser = true;
      group = name;
      inherit description;
    }) rendered.users;
    users.groups = mkMerge [
      (mapAttrs (_: _: { }) rendered.users)
      (mapAttrs (_: members: { inherit members; }) rendered.groups)
    ];

    systemd.sockets = units.sockets;
    systemd.targets = units.targets;
    systemd.services = mkMerge [
      units.services
      {
        ephyr-signer = withKeys;
        ephyr-broker = withKeys;
        ephyr-netguard = daemon // {
          path = [ pkgs.nftables ];
          # While the MCP port is off, no agent may send to it.
          environment = mkIf (!cfg.mcp.enable) { EPHYR_MCP_LISTEN = "off"; };
        };
        # Stopping it removes the table, which is meant for its removal and not for a change.
        ephyr-netguard-table.restartIfChanged = false;
      }
      (mapAttrs' agentUnit (filterAttrs (_: agent: agent.command != [ ]) cfg.agents))
    ];
  };
}

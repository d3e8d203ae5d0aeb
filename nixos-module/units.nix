# The units of one host, from units.toml: { "<file name>" = { Unit = …; Service = …; Install = …; }; }.
# Builtins only, so that a test can compare the result with that of `ephyr units render`.
settings:
let
  table = fromTOML (builtins.readFile ./units.toml);

  texts = {
    "@package@" = settings.package;
    "@nft@" = settings.nft;
    "@systemctl@" = settings.systemctl;
    "@readable@" = builtins.concatStringsSep " " (map (path: "--ro ${path}") settings.readable);
  };

  lists = {
    "@ca_key@" = credentials { inherit (settings) ca_key; } false;
    "@ca_key_encrypted@" = credentials { inherit (settings) ca_key; } true;
    "@credentials@" = credentials settings.credentials false;
    "@credentials_encrypted@" = credentials settings.credentials true;
    # Without the directories that every unit has of its own.
    "@shown@" = map (path: "-${path}") (
      builtins.filter (path: builtins.match "/(proc|sys|dev)(/.*)?" path == null) settings.readable
    );
  };

  credentials =
    all: encrypted:
    map (name: "${name}:${all.${name}.file}") (
      builtins.filter (name: all.${name}.encrypted == encrypted) (builtins.attrNames all)
    );

  ofAgent = name: agent: {
    texts = texts // {
      "@agent@" = name;
      "@user@" = agent.user;
      "@uid@" = toString agent.uid;
      # Each port once, in ascending order.
      "@connect@" = builtins.concatStringsSep "" (
        map (port: " --connect ${toString port}") (
          builtins.sort builtins.lessThan (
            builtins.attrValues (
              builtins.listToAttrs (
                map (entry: {
                  name = toString entry.port;
                  value = entry.port;
                }) agent.egress
              )
            )
          )
        )
      );
      "@command@" = builtins.concatStringsSep " " (map quoted agent.command);
    };
    lists = lists // {
      "@egress@" = map (entry: entry.cidr) agent.egress;
    };
  };

  # Quotes a word for ExecStart=, with specifiers and variables escaped.
  quoted =
    word:
    let
      escaped = builtins.replaceStrings [ "\\" "\"" "%" "$" ] [ "\\\\" "\\\"" "%%" "$$" ] word;
    in
    "\"${escaped}\"";

  withBase =
    sections:
    sections // (if sections ? Service then { Service = table.base // sections.Service; } else { });

  fill =
    filling:
    let
      text = builtins.replaceStrings (builtins.attrNames filling.texts) (
        builtins.attrValues filling.texts
      );
      item = one: filling.lists.${one} or [ (text one) ];
      value =
        found:
        if builtins.isString found then
          text found
        else if builtins.isList found then
          builtins.concatMap item found
        else
          found;
    in
    builtins.mapAttrs (_: builtins.mapAttrs (_: value));

  agentSections =
    agent:
    let
      whole = withBase table.agent;
    in
    if agent.egress == [ ] then
      whole
    else
      whole // builtins.mapAttrs (section: own: whole.${section} // own) table.agent_egress;

  agents = builtins.listToAttrs (
    map
      (name: {
        name = "ephyr-agent-${name}.service";
        value = fill (ofAgent name settings.agents.${name}) (agentSections settings.agents.${name});
      })
      (
        builtins.filter (name: settings.agents.${name}.command != [ ]) (builtins.attrNames settings.agents)
      )
  );
in
{
  units =
    builtins.mapAttrs (_: sections: fill { inherit texts lists; } (withBase sections)) table.units
    // agents;
  inherit (table) groups users directories;
}

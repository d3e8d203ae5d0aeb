# Finds the running sshd, its effective configuration for an account (`sshd -T`), and the lines of its configuration files.
# Shared by install.sh and check.sh.
#
# `$work` is an empty directory. `$given` is a file of sshd's options, one per line, or empty: then the options are those of
# each sshd that listens on this host.

# Separates fields. It is not white space, so empty fields are kept.
us=$(printf '\037')
# sshd's option that prints the effective configuration. -G needs neither host keys nor root; OpenSSH before 9.3 lacks it.
dump=-T

lower() { printf '%s' "$1" | tr '[:upper:]' '[:lower:]'; }
has() { case " $1 " in *" $2 "*) return 0 ;; esac; return 1; }

# Runs sshd with these options and those that select its configuration.
ask() {
    while IFS= read -r option; do set -- "$@" "$option"; done < "$options"
    "$program" "$@" < /dev/null 2> "$work/error"
}

# Prints a connection for `sshd -C`. sshd fails if a Match criterion has no value here.
connection() { # ACCOUNT ADDRESS
    case $2 in *:*) set -- "$1" "$2" ::1 ;; *) set -- "$1" "$2" 127.0.0.1 ;; esac
    echo "user=$1,host=$2,addr=$2,laddr=$3,lport=$port"
}

# Whether sshd accepts its configuration.
is_valid() { if [ "$dump" = -T ]; then ask -t; else ask "$dump" > /dev/null; fi; }

# Prints sshd's effective configuration for an account from an address.
effective() { # ACCOUNT [ADDRESS]
    ask "$dump" -C "$(connection "$1" "${2:-127.0.0.1}")" ||
        die "sshd cannot print its configuration for $1: $(cat "$work/error")"
}

# The same, with a file as the whole configuration.
effective_by() { # FILE ACCOUNT ADDRESS
    (options=$work/keys && ask "$dump" -f "$1" -C "$(connection "$2" "$3")")
}

# Whether these Match criteria are met, evaluated by sshd. Returns 2 if sshd rejects them.
matches() { # CRITERIA ACCOUNT ADDRESS
    printf 'Match %s\n    MaxSessions 4242\n' "$1" > "$work/match"
    effective_by "$work/match" "$2" "$3" > "$work/answer" || return 2
    grep -qx 'maxsessions 4242' "$work/answer"
}

# Whether a process of this host has only root's user IDs. Setuid programs keep the real one of the user who started them.
is_roots() { # PID
    users=
    while read -r key ruid euid suid fsuid _; do
        [ "$key" = Uid: ] || continue
        users="$ruid $euid $suid $fsuid"
        break
    done 2> /dev/null < "/proc/$1/status" || return 1
    [ "$users" = '0 0 0 0' ]
}

# Whether a process runs in the PID and user namespaces of this script: not in a container.
is_of_host() { # PID
    for kind in pid user; do
        [ "$(readlink "/proc/$1/ns/$kind")" = "$(readlink "/proc/self/ns/$kind")" ] || return 1
    done
}

# Whether only root can replace a file in its directory, or the directory.
is_in_roots_directory() { # PATH
    directory=${1%/*}
    case $(stat -c '%u %a' "${directory:-/}" 2> /dev/null) in "0 "*[0145][0145]) ;; *) return 1 ;; esac
    while [ -n "$directory" ]; do
        directory=${directory%/*}
        # A sticky directory, such as /nix/store, lets nobody rename what is root's.
        case $(stat -c '%u %a' "${directory:-/}" 2> /dev/null) in
            "0 "*[0145][0145] | "0 "[1357][0-7][0-7][0-7]) ;;
            *) return 1 ;;
        esac
    done
}

# Sets `$program` to the sshd that runs as this process, or to the system's sshd if an upgrade has removed that file. Fails
# if the process is not an sshd of root's.
find_program() { # PID
    is_roots "$1" || return 1
    path=$(readlink "/proc/$1/exe" 2> /dev/null) || return 1
    if [ -n "$system_sshd" ] && [ "/proc/$1/exe" -ef "$system_sshd" ]; then
        program=$system_sshd
        is_of_host "$1"
        return
    fi
    path=${path%" (deleted)"}
    case $path in *"$newline"*) return 1 ;; /*/sshd) ;; *) return 1 ;; esac
    is_of_host "$1" || return 1
    # Three digits: neither setuid nor setgid.
    case $(stat -Lc '%u %a' "/proc/$1/exe" 2> /dev/null) in "0 "[0-7][0145][0145]) ;; *) path= ;; esac
    if [ -z "$path" ] || ! is_in_roots_directory "$path"; then
        say "note: process $1 is ignored: users other than root could have made its program" \
            "$(readlink "/proc/$1/exe" 2> /dev/null)"
        return 1
    fi
    program=$path
    [ "/proc/$1/exe" -ef "$path" ] || program=${system_sshd:-sshd}
}

# Finds each sshd that listens on this host. Its process title has its options, which select its configuration.
#
# Every user can give a process any title, also one of a setuid program or of sudo. So the program of a process decides
# whether its title counts, and no other title is read: the memory of a hostile process can block its readers.
find_sshd() {
    mkdir "$work/sshd" "$work/programs"
    system_sshd=$(command -v sshd) || system_sshd=
    if [ -n "$given" ]; then
        cp "$given" "$work/sshd/given"
    else
        for process in /proc/[0-9]*; do
            pid=${process#/proc/}
            find_program "$pid" || continue
            title=$(tr '\0' ' ' 2> /dev/null < "/proc/$pid/cmdline") || continue
            # Another process may have had this number when the title was read.
            find_program "$pid" || continue
            # The title of a login contains the name of its account, which does not begin with a slash.
            case $title in "sshd: /"*" [listener]"*) ;; *) continue ;; esac
            case $title in *"$newline"*) die "an option of sshd process $pid contains a line break; start it without" ;; esac
            title=${title#sshd: }
            options_of "${title%" [listener]"*}" > "$work/sshd/$pid"
            printf '%s\n' "$program" > "$work/programs/$pid"
        done
        if [ -z "$(ls "$work/sshd")" ]; then
            say "note: no sshd listens on this host; checking the configuration that it would start with"
            defaults=
            if [ -r /etc/default/ssh ]; then
                defaults=$(sed -n "s/^SSHD_OPTS=//p" /etc/default/ssh | tail -n 1 | tr -d "\"'")
            fi
            options_of "sshd $defaults" > "$work/sshd/default"
        fi
    fi
    choose_first
    if [ -n "$given" ] && ask -GT > /dev/null; then dump=-GT; fi
}

# Prints the options of an sshd command line that select its configuration, each with its value in one word.
options_of() {
    set -f
    # shellcheck disable=SC2086
    set -- $1
    set +f
    shift
    while [ $# -gt 0 ]; do
        word=${1#-}
        shift
        # Flags without a value may precede one with a value.
        while :; do
            case $word in [46DGTdeiqrt]*) word=${word#?} ;; *) break ;; esac
        done
        [ -n "$word" ] || continue
        letter=${word%"${word#?}"} value=${word#?}
        # The title does not show where a value with spaces ends.
        while [ $# -gt 0 ]; do
            case $1 in -*) break ;; esac
            value="${value:+$value }$1"
            shift
        done
        case $letter in [fophc]) printf '%s\n' "-$letter$value" ;; esac
    done
}

# Selects the sshd to query.
choose() { # FILE
    options=$1
    pid=${1##*/}
    program=${system_sshd:-sshd} which=sshd
    case $pid in
        given) which="sshd with $(tr '\n' ' ' < "$options")" ;;
        default) ;;
        *)
            which="sshd process $pid"
            [ ! -s "$options" ] || which="$which ($(tr '\n' ' ' < "$options" | sed 's/ $//'))"
            program=$(cat "$work/programs/$pid")
            ;;
    esac
}

# Prints the option of the chosen sshd's command line that sets a keyword.
option_for() { # KEYWORD
    while IFS= read -r option; do
        case $option in -o*) ;; *) continue ;; esac
        keyword_of=$(printf '%s' "${option#-o}" | sed 's/^[ \t"]*//; s/[ \t="].*//')
        if [ "$(lower "$keyword_of")" = "$1" ]; then
            printf '%s\n' "$option"
            return
        fi
    done < "$options"
}

choose_first() {
    for file in "$work"/sshd/*; do
        choose "$file"
        return
    done
}

# Finds the host keys, which sshd needs to evaluate a single file.
find_keys() {
    effective root > "$work/now"
    sed -n 's/^hostkey /-h/p; /^hostkeyagent none$/d; s/^hostkeyagent /-oHostKeyAgent=/p' "$work/now" > "$work/keys"
    usedns=$(sed -n 's/^usedns //p' "$work/now")
    config=$(sed -n 's/^-f//p' "$options" | tail -n 1)
    config=${config:-/etc/ssh/sshd_config}
}

# Prints every line of sshd's configuration but Match and Include, in the order in which sshd reads it: file, line, criteria
# of its Match (empty: the line is global), place of that Match, keyword in lower case, keyword as written, arguments.
# Dies at a line that sshd could read differently: what it includes would stay unseen.
scan() ( # FILE CRITERIA PLACE DEPTH
    criteria=$2 place=$3 depth=$(($4 + 1))
    # sshd's own limit.
    [ "$depth" -le 16 ] || exit 0
    file=$1
    if [ "$file" -ef "$snippet" ]; then file=$snippet; fi
    awk -v us="$us" '
        function refuse(reason) { print FNR us "?" us reason us }
        BEGIN {
            same["pubkeyacceptedkeytypes"] = "pubkeyacceptedalgorithms"
            same["hostbasedacceptedkeytypes"] = "hostbasedacceptedalgorithms"
            same["challengeresponseauthentication"] = "kbdinteractiveauthentication"
            same["skeyauthentication"] = "kbdinteractiveauthentication"
            same["dsaauthentication"] = "pubkeyauthentication"
        }
        {
            line = $0
            sub(/^[ \t]+/, "", line); sub(/[ \t\r\f]+$/, "", line)
            if (line == "" || line ~ /^#/) next
            # sshd takes a carriage return for white space.
            if (line ~ /[\001-\010\012-\037\177]/) { refuse("a control character or a carriage return inside the line"); next }
            if (line ~ /^=/) { refuse("`=` at the beginning"); next }
            sub(/^"/, "", line)
            match(line, /^[^ \t="]*/)
            written = substr(line, 1, RLENGTH)
            words = substr(line, RLENGTH + 1)
            sub(/^"?[ \t]*=?[ \t]*/, "", words)
            # A comment begins at a word that starts with `#` outside quotes.
            quoted = spaced = 0
            for (i = 1; i <= length(words); i++) {
                c = substr(words, i, 1)
                if (c == "\"") quoted = !quoted
                if (quoted && c ~ /[ \t]/) spaced = 1
                if (c == "#" && !quoted && (i == 1 || substr(words, i - 1, 1) ~ /[ \t]/)) {
                    words = substr(words, 1, i - 1); break
                }
            }
            sub(/[ \t]+$/, "", words)
            keyword = tolower(written)
            if (keyword in same) keyword = same[keyword]
            if (keyword ~ /^(include|match)$/ && words ~ /\047/) { refuse("single quotes"); next }
            if (keyword == "include" && words ~ /\\/) { refuse("a backslash"); next }
            if (keyword == "include" && spaced) { refuse("spaces inside quotes"); next }
            print FNR us keyword us written us words
        }' "$1" |
        while IFS=$us read -r number keyword written words; do
            case $keyword in
                '?') die "$file:$number: this line cannot be followed by this script; write it without $written" ;;
                match)
                    place=$file:$number
                    # `all` is met whenever the enclosing criteria are, and cannot be combined with others.
                    if [ "$(lower "$words")" != all ] || [ -z "$2" ]; then
                        if [ "$(lower "$2")" = all ]; then criteria=$words; else criteria="${2:+$2 }$words"; fi
                    else
                        criteria=$2
                    fi
                    ;;
                include)
                    set -f
                    for pattern in $(printf '%s' "$words" | tr -d '"'); do
                        case $pattern in /*) ;; *) pattern=/etc/ssh/$pattern ;; esac
                        set +f
                        for included in $pattern; do
                            if [ -f "$included" ]; then scan "$included" "$criteria" "$place" "$depth" || exit 1; fi
                        done
                        set -f
                    done
                    set +f
                    ;;
                *) printf '%s\n' "$file$us$number$us$criteria$us$place$us$keyword$us$written$us$words" ;;
            esac
        done
)

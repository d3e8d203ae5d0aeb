# Which sshd runs here, what it does for an account (`sshd -T`), and what its configuration says. install.sh and check.sh
# share this file.
#
# `$work` is an empty directory. `$given` is a file of sshd's options, one a line, or empty: then the options are those of
# each sshd that listens here.

# Separates fields. It is no white space, so that an empty field is a field.
us=$(printf '\037')
# sshd's option that prints a configuration. With -G it needs neither host keys nor root; OpenSSH before 9.3 lacks that.
dump=-T

lower() { printf '%s' "$1" | tr '[:upper:]' '[:lower:]'; }
has() { case " $1 " in *" $2 "*) return 0 ;; esac; return 1; }

# Runs sshd with these options, and those that decide which configuration it reads.
ask() {
    while IFS= read -r option; do set -- "$@" "$option"; done < "$options"
    "$program" "$@" < /dev/null 2> "$work/error"
}

# A connection for `sshd -C`. A criterion of a Match block that has no value here is an error to sshd.
connection() { # ACCOUNT ADDRESS
    case $2 in *:*) set -- "$1" "$2" ::1 ;; *) set -- "$1" "$2" 127.0.0.1 ;; esac
    echo "user=$1,host=$2,addr=$2,laddr=$3,lport=$port"
}

# Whether sshd takes its configuration.
is_valid() { if [ "$dump" = -T ]; then ask -t; else ask "$dump" > /dev/null; fi; }

# What sshd does for an account that comes from an address.
effective() { # ACCOUNT [ADDRESS]
    ask "$dump" -C "$(connection "$1" "${2:-127.0.0.1}")" ||
        die "sshd does not say what it does for $1: $(cat "$work/error")"
}

# The same, with a file as the whole configuration.
effective_by() { # FILE ACCOUNT ADDRESS
    (options=$work/keys && ask "$dump" -f "$1" -C "$(connection "$2" "$3")")
}

# Whether sshd takes these criteria of a Match to be met. 2: it does not understand them.
matches() { # CRITERIA ACCOUNT ADDRESS
    printf 'Match %s\n    MaxSessions 4242\n' "$1" > "$work/match"
    effective_by "$work/match" "$2" "$3" > "$work/answer" || return 2
    grep -qx 'maxsessions 4242' "$work/answer"
}

# Finds each sshd that listens here. Its title holds its options: with others it would read another configuration.
find_sshd() {
    mkdir "$work/sshd"
    if [ -n "$given" ]; then
        cp "$given" "$work/sshd/given"
    else
        for file in $(grep -ls '^sshd: .*\[listener\]' /proc/[0-9]*/cmdline); do
            pid=${file#/proc/} pid=${pid%/cmdline}
            # Root's own, and not of a container.
            [ "$(stat -c %u "/proc/$pid" 2> /dev/null)" = 0 ] || continue
            [ "$(readlink "/proc/$pid/ns/pid")" = "$(readlink /proc/self/ns/pid)" ] || continue
            title=$(tr '\0' ' ' < "/proc/$pid/cmdline") || continue
            title=${title#sshd: }
            options_of "${title%%"[listener]"*}" > "$work/sshd/$pid"
        done
        if [ -z "$(ls "$work/sshd")" ]; then
            say "note: no sshd listens here; checked is the configuration that it would be started with"
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

# Of an sshd's command line the options that decide what it reads, each with its value in one word.
options_of() {
    set -f
    # shellcheck disable=SC2086
    set -- $1
    set +f
    shift
    while [ $# -gt 0 ]; do
        word=${1#-}
        shift
        # Letters without a value may stand before one with a value.
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
        case $letter in [fophc]) echo "-$letter$value" ;; esac
    done
}

# Makes one of them the sshd that is asked.
choose() { # FILE
    options=$1
    pid=${1##*/}
    program=sshd which=sshd
    case $pid in
        given) which="sshd with $(tr '\n' ' ' < "$options")" ;;
        default) ;;
        *)
            which="the sshd that runs as process $pid"
            [ ! -s "$options" ] || which="$which ($(tr '\n' ' ' < "$options" | sed 's/ $//'))"
            # An upgrade may have removed the file that it was started from.
            if [ -x "/proc/$pid/exe" ]; then program=$(readlink -f "/proc/$pid/exe"); fi
            [ -x "$program" ] || program=sshd
            ;;
    esac
}

choose_first() {
    for file in "$work"/sshd/*; do
        choose "$file"
        return
    done
}

# What asking sshd about a file alone needs: host keys.
find_keys() {
    effective root > "$work/now"
    sed -n 's/^hostkey /-h/p; /^hostkeyagent none$/d; s/^hostkeyagent /-oHostKeyAgent=/p' "$work/now" > "$work/keys"
    usedns=$(sed -n 's/^usedns //p' "$work/now")
    config=$(sed -n 's/^-f//p' "$options" | tail -n 1)
    config=${config:-/etc/ssh/sshd_config}
}

# Every line of sshd's configuration but Match and Include, in the order in which sshd reads it: file, line, criteria of
# its Match (none: the line is for everybody), place of that Match, keyword in lower case, keyword as written, words.
scan() ( # FILE CRITERIA PLACE DEPTH
    criteria=$2 place=$3 depth=$(($4 + 1))
    # sshd's own limit.
    [ "$depth" -le 16 ] || exit 0
    file=$1
    if [ "$file" -ef "$snippet" ]; then file=$snippet; fi
    awk -v us="$us" '
        BEGIN {
            same["pubkeyacceptedkeytypes"] = "pubkeyacceptedalgorithms"
            same["hostbasedacceptedkeytypes"] = "hostbasedacceptedalgorithms"
            same["challengeresponseauthentication"] = "kbdinteractiveauthentication"
            same["skeyauthentication"] = "kbdinteractiveauthentication"
            same["dsaauthentication"] = "pubkeyauthentication"
        }
        {
            line = $0
            sub(/^[ \t]+/, "", line); sub(/[ \t\r]+$/, "", line)
            if (line == "" || line ~ /^#/) next
            sub(/^"/, "", line)
            match(line, /^[^ \t="]*/)
            written = substr(line, 1, RLENGTH)
            words = substr(line, RLENGTH + 1)
            sub(/^"?[ \t]*=?[ \t]*/, "", words)
            # A comment begins with a word of its own outside of quotes.
            quoted = 0
            for (i = 1; i <= length(words); i++) {
                c = substr(words, i, 1)
                if (c == "\"") quoted = !quoted
                if (c == "#" && !quoted && (i == 1 || substr(words, i - 1, 1) ~ /[ \t]/)) {
                    words = substr(words, 1, i - 1); break
                }
            }
            sub(/[ \t]+$/, "", words)
            keyword = tolower(written)
            if (keyword in same) keyword = same[keyword]
            print FNR us keyword us written us words
        }' "$1" |
        while IFS=$us read -r number keyword written words; do
            case $keyword in
                match)
                    place=$file:$number
                    # `all` is met whenever the criteria around it are, and may not stand beside others.
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
                            if [ -f "$included" ]; then scan "$included" "$criteria" "$place" "$depth"; fi
                        done
                        set -f
                    done
                    set +f
                    ;;
                *) printf '%s\n' "$file$us$number$us$criteria$us$place$us$keyword$us$written$us$words" ;;
            esac
        done
)
